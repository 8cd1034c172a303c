"""Processes that a build started and that outlived it: found by their environment, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

#: In the environment of every process of a build, with the name of its staging directory.
MARK = "STUDIO_RUNNER_BUILD"


def end(name: str) -> bool:
    """Kill every process of the build that bears this name; blocks for a look at ``/proc``.

    Tells whether there was any.
    """
    found = list(marked(name))
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def marked(name: str) -> Iterator[int]:
    """Yield the processes of the build that bears this name."""
    wanted = f"{MARK}={name}".encode()
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        # ended in the meantime, or another user's
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield pid
