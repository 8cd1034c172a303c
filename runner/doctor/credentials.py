"""Every credential that leads to queues: whether its file can be read, understood, and kept."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient
from runner.queues.credential import Credential
from runner.queues.credentials.finder import Finder

_EXAMPLES = "docs/permissions.md says what each needs"


async def look(patient: Patient, tell: Tell) -> None:
    """Tell of each credential, of each file that is none, and of directories out of reach."""
    await tell_all(lambda: _findings(patient), tell)


def _findings(patient: Patient) -> Iterator[Finding]:
    found = patient.found
    if found is None:
        yield skipped("the settings keep credentials from being looked for: see settings")
        return
    yield from _directories(patient)
    yield from _troubles(found)
    for path in sorted(found.exposed):
        yield warning(
            "other users of this machine can read it", f"chmod go-rwx {shlex.quote(path)}", path
        )
    yield from (ok(_kind(one), one.origin) for one in found.chosen.credentials)
    if not found.chosen.credentials and not found.troubles:
        yield _none(patient)


def _directories(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    for option, path in (
        ("certs-dir", settings.certs_dir),
        ("google-certs", settings.google_certs),
        ("sqs-certs", settings.sqs_certs),
    ):
        if path is None:
            continue
        if not os.path.lexists(path):
            if settings.given(option.replace("-", "_")):
                remedy = f"mkdir -m 700 -p {shlex.quote(str(path))}"
                yield warning("it is not there (yet)", remedy, f"--{option} {path}")
        elif not os.access(path, os.R_OK):
            quoted = shlex.quote(str(path))
            remedy = f"run the doctor as the daemon's user, or: chown -R USER {quoted}"
            yield failed("this user cannot read it", remedy, f"--{option} {path}")


def _troubles(found: Finder) -> Iterator[Finding]:
    """Tell what is wrong; a spare key, or two of one name, only deserve a look."""
    harmless = set(found.chosen.troubles)
    for trouble in found.troubles:
        say = warning if trouble in harmless else failed
        yield say(trouble.sentence, _EXAMPLES, trouble.about)


def _none(patient: Patient) -> Finding:
    remedy = f"put credentials into {patient.settings.certs_dir}; {_EXAMPLES}"
    if patient.settings.queue_root is None:
        return failed("no source of experiments: no credential and no --queue-root", remedy)
    return ok("there is none: experiments come from local queues alone")


def _kind(credential: Credential) -> str:
    named = f", {len(credential.queues)} queues named" if credential.queues else ""
    return f"opens {credential.broker} queues of {credential.scope}{named}"
