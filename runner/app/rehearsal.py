"""Whether the daemon would start if it were executed now: what lies on the disk may be newer."""

from __future__ import annotations

import importlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from runner.app import fleet, gpus, places, sandbox
from runner.app.masking import redactor_of
from runner.settings import Settings
from runner.settings.changes import Change, Held, changes, from_json, held_by, to_json

#: Set for a process that is to find out whether it could be the daemon, and to touch nothing. Its
#: value is the salt for what it tells of its options.
VARIABLE = "STUDIO_RUNNER_REHEARSAL"
#: Importing takes a second, on a machine that is busy with experiments some more.
_SECONDS = 60.0
_LONGEST_REASON = 500
#: Before the line with its options.
_TELLS = "studio-runner would run with: "
#: What a daemon imports when it first needs it, and needs sooner or later.
_LATE = (
    "runner.environments.workshop",
    "runner.request.requirements",
    "runner.web.connection",
)


def command() -> list[str]:
    """Return the command line that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a process that was the next daemon for a moment had to say."""

    #: Why it cannot start; empty: it can.
    reason: str = ""
    #: Its options; empty where its version does not tell them.
    options: Held = field(default_factory=dict)
    salt: str = ""

    def changes(self, now: Settings, redact: Callable[[str], str]) -> list[Change]:
        """Return what it would have other than the daemon of now."""
        if not self.options:
            return []
        return changes(held_by(now, redact, self.salt), self.options)


async def rehearse(environ: Mapping[str, str]) -> Rehearsed:
    """Run our own command to the point where it would begin.

    A process of its own sees the code and the settings as the next daemon will see them.
    """
    left_out = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    variables = {name: value for name, value in environ.items() if name not in left_out}
    salt = secrets.token_hex()
    try:
        with anyio.fail_after(_SECONDS):
            done = await anyio.run_process(
                command(),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                check=False,
                env={**variables, VARIABLE: salt},
                start_new_session=True,
            )
    except TimeoutError:
        return Rehearsed(f"the new daemon was not ready to start within {_SECONDS:.0f} s")
    except OSError as error:
        return Rehearsed(f"{sys.executable} cannot be executed: {error.strerror}")
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode == 0:
        return Rehearsed("", _told(lines), salt)
    said = lines[-1][:_LONGEST_REASON] if lines else f"it ended with status {done.returncode}"
    return Rehearsed(f"the new daemon would not start: {said.removeprefix('studio-runner: ')}")


def _told(lines: list[str]) -> Held:
    for line in reversed(lines):
        if line.startswith(_TELLS):
            with suppress(ValueError):
                return from_json(line.removeprefix(_TELLS))
    return {}


def perform(settings: Settings) -> int:
    """Look at what would keep this daemon from starting. Raises Misconfigured."""
    import runner.app.daemon  # noqa: F401, PLC0415 - it imports all that a daemon is made of

    for name in _LATE:
        importlib.import_module(name)
    places.planned(settings)
    gpus.check(settings)
    sandbox.check_name(settings)
    fleet.check(settings)
    salt = os.environ.get(VARIABLE, "")
    told = held_by(settings, redactor_of(settings, os.environ).redact, salt)
    print(_TELLS + to_json(told))  # noqa: T201 - to the daemon, see ``rehearse``
    return os.EX_OK
