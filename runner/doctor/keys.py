"""The keys of sealed requests and of reports: whether they open anything, and whose are known."""

from __future__ import annotations

from collections.abc import Iterator

from runner.app.privacy import KEYS_SEEN, opened
from runner.app.responding import rule
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient
from runner.errors import Misconfigured, RunnerError
from runner.privacy.opening import Opening
from runner.settings import Settings

_MAKE = "studio-runner keys generate DIR"


async def look(patient: Patient, tell: Tell) -> None:
    """Look at the key that opens requests, and at the senders that are known."""
    await tell_all(lambda: _findings(patient), tell)


def _findings(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    is_seen = (settings.state_dir / KEYS_SEEN).exists()
    try:
        found = opened(settings, is_seen=is_seen)
    except Misconfigured as error:
        yield failed(str(error), _MAKE)
        return
    yield from _responses(settings)
    if found.private is not None:
        yield from _keys(found)
    elif found.no_clear_text:
        yield failed(
            "no request is believed: this state directory has seen keys, and none are named now",
            "--encrypt-dir and --request-signatures-dir, or --clear-text-messages",
        )
    else:
        yield skipped("requests come in clear text: no --encrypt-dir is named")


def _responses(settings: Settings) -> Iterator[Finding]:
    sealing = rule(settings)
    if sealing is not None and sealing.keys is not None:
        keys, where = sealing.keys, str(sealing.keys.directory)
        if usable := [name for name in keys.names if keys.find(name) is not None]:
            yield ok(f"reports are sealed for queues that begin with {', '.join(usable)}", where)
        else:
            yield failed("reports are sealed for nobody", f"put public keys into {where}")
    if settings.clear_text_responses:
        yield warning(
            "reports go out in clear text where there is no key: whoever reads the response queue "
            "reads the output of experiments",
            "studio-runner keys responses DIR, and --response-signatures-dir",
        )


def _keys(found: Opening) -> Iterator[Finding]:
    assert found.private is not None  # noqa: S101 - the caller has looked
    assert found.signers is not None  # noqa: S101 - they come together
    try:
        bits = found.private.get().key_size
    except RunnerError as error:
        yield failed(str(error), _MAKE)
    else:
        yield ok(
            f"sealed requests are opened by a key of {bits} bits", str(found.private.directory)
        )
    usable = [name for name in found.signers.names if found.signers.find(name) is not None]
    where = str(found.signers.directory)
    if usable:
        yield ok(f"senders are known for queues that begin with {', '.join(usable)}", where)
    else:
        yield failed("nobody is known who may sign requests", f"put public keys into {where}")
    if not found.no_clear_text:
        yield warning(
            "requests in clear text are believed as well: anybody who can write to a queue sends",
            "leave --clear-text-messages out once all senders seal theirs",
        )
