"""Whom experiments run as: a user of this machine, not root, and kept out by file permissions."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from runner.app.hidden import credentials
from runner.doctor.check import Finding, Verdict, failed, ok, skipped, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient, nearest
from runner.lifecycle.runs.workspace import unreachable
from runner.model import Identity
from runner.settings.users import RunAs
from runner.supervisor.users import of_user

_PATIENCE = 10.0


async def look(patient: Patient, tell: Tell) -> None:
    """Look at the user of ``--run-as``, and with its eyes at the credentials."""
    await tell_all(lambda: _findings(patient), tell)


def _findings(patient: Patient) -> Iterator[Finding]:
    yield from _whose(patient.settings.state_dir)
    wanted = patient.settings.run_as
    if not wanted:
        yield _own_user(allowed=patient.settings.allow_root_experiments)
        return
    yield from _others(wanted)
    if patient.identity is None:
        yield skipped("whether that user can read credentials can be tried by root alone")
        return
    for option in ("working_dir", "state_dir"):
        path = getattr(patient.settings, option)
        about = f"--{option.replace('_', '-')} {path}"
        yield from _first_trouble(partial(_the_way_to, about, path), patient)
    for path in credentials(patient.settings):
        yield from _first_trouble(partial(_kept_out, path), patient)


def _first_trouble(
    look_as: Callable[[Identity], Iterator[Finding]], patient: Patient
) -> Iterator[Finding]:
    """Look as every user of a pool, and tell of the first with whom something is wrong."""
    told: list[Finding] = []
    for identity in patient.places.identities:
        told = list(look_as(identity))
        if any(finding.verdict is not Verdict.OK for finding in told):
            break
    yield from told


def _others(wanted: Sequence[RunAs]) -> Iterator[Finding]:
    """Say who each of them is; of many that are as they should be, how many they are."""
    found = [_other(user) for user in wanted]
    right = [one for one in found if one.verdict is Verdict.OK]
    yield from found if len(found) == 1 else [one for one in found if one not in right]
    if len(found) > 1:
        yield ok(f"every experiment runs as a user of its own: {len(found)} at a time, at most")
        yield from _used(wanted)


def _used(wanted: Sequence[RunAs]) -> Iterator[Finding]:
    """Tell of users with processes: experiments of a daemon that runs, or somebody else's."""
    used = [user.name for user in wanted if of_user(user.uid)]
    if used:
        yield skipped(
            f"{', '.join(used)} {'has' if len(used) == 1 else 'have'} processes now: unless they "
            "are experiments of a daemon, such a user is not used before they have ended"
        )


def _whose(state: Path) -> Iterator[Finding]:
    """Tell somebody who is not the daemon that the findings are theirs, not the daemon's."""
    try:
        owner = state.stat().st_uid
    except OSError:
        return
    if owner != os.geteuid():
        name = _name(owner)
        yield warning(
            f"--state-dir {state} belongs to {name}: what is said here holds for this user, not "
            "for the daemon",
            f"sudo -u {shlex.quote(name)} studio-runner doctor",
        )


def _own_user(*, allowed: bool) -> Finding:
    if os.geteuid() != 0:
        return ok(f"experiments run as this user, {_name(os.geteuid())}")
    if not allowed:
        # That it does not start is the settings' failure.
        return skipped("the daemon is root, and nobody says whom experiments run as")
    return warning(
        "experiments run as root: they can do everything here",
        "useradd --system --shell /usr/sbin/nologin studio-experiment, and --run-as it",
    )


def _other(wanted: RunAs) -> Finding:
    if os.geteuid() not in {0, wanted.uid}:
        return failed(
            f"only root can run experiments as another user, --run-as {wanted.name}",
            "run the daemon as root, or without --run-as",
        )
    if wanted.uid == 0:
        return warning("--run-as is root: experiments can do everything here", "name another user")
    try:
        pwd.getpwuid(wanted.uid)
    except KeyError:
        return warning(
            f"no user of this machine has the number {wanted.uid}: programs that ask for its name "
            "or home fail",
            f"useradd --system --uid {wanted.uid} studio-experiment",
        )
    return ok(f"experiments run as {wanted.name} ({wanted.uid}:{wanted.gid})")


def _the_way_to(about: str, path: Path, identity: Identity) -> Iterator[Finding]:
    """Say which directory above keeps experiments from their own; the last one the daemon opens."""
    closed = unreachable(nearest(path).resolve(), identity)
    if closed is not None and closed != path.resolve():
        yield failed(
            f"the user that experiments run as may not pass through {closed}",
            f"chmod o+x {shlex.quote(str(closed))}, or name another directory",
            about,
        )


def _kept_out(path: Path, identity: Identity) -> Iterator[Finding]:
    if not os.path.lexists(path):
        return
    quoted = shlex.quote(str(path))
    if _can_look(path, identity):
        yield warning(
            "the user that experiments run as can read it: hiding it is all that keeps them out",
            f"chmod go-rwx {quoted}",
            str(path),
        )
    else:
        yield ok("the user that experiments run as cannot read it", str(path))


def _can_look(path: Path, identity: Identity) -> bool:
    """Try it as that user: groups, access lists and mounts are the kernel's to judge."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'if [ -d "$1" ]; then ls "$1"; else head -c1 "$1"; fi', "sh", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        user=identity.uid,
        group=identity.gid,
        extra_groups=(),
        timeout=_PATIENCE,
        check=False,
    )
    return done.returncode == 0


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
