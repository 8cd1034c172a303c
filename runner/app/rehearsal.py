"""Whether the daemon would start if it were executed now: what lies on the disk may be newer."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping

import anyio

from runner.app import gpus, places, sandbox
from runner.settings import Settings

#: Set for a process that is to find out whether it could be the daemon, and to touch nothing.
VARIABLE = "STUDIO_RUNNER_REHEARSAL"
#: Importing takes a second, on a machine that is busy with experiments some more.
_SECONDS = 60.0
_LONGEST_REASON = 500
#: What a daemon imports when it first needs it, and needs sooner or later.
_LATE = (
    "runner.environments.workshop",
    "runner.request.requirements",
    "runner.web.connection",
)


def command() -> list[str]:
    """Return the command line that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


async def rehearse(environ: Mapping[str, str]) -> str:
    """Run our own command to the point where it would begin; return why it cannot, or nothing.

    A process of its own sees the code and the settings as the next daemon will see them.
    """
    left_out = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    variables = {name: value for name, value in environ.items() if name not in left_out}
    try:
        with anyio.fail_after(_SECONDS):
            done = await anyio.run_process(
                command(),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                check=False,
                env={**variables, VARIABLE: "1"},
                start_new_session=True,
            )
    except TimeoutError:
        return f"the new daemon was not ready to start within {_SECONDS:.0f} s"
    except OSError as error:
        return f"{sys.executable} cannot be executed: {error.strerror}"
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    said = lines[-1][:_LONGEST_REASON] if lines else f"it ended with status {done.returncode}"
    return f"the new daemon would not start: {said.removeprefix('studio-runner: ')}"


def perform(settings: Settings) -> int:
    """Look at what would keep this daemon from starting. Raises Misconfigured."""
    import runner.app.daemon  # noqa: F401, PLC0415 - it imports all that a daemon is made of

    for name in _LATE:
        importlib.import_module(name)
    places.planned(settings)
    gpus.check(settings)
    sandbox.check_name(settings)
    return os.EX_OK
