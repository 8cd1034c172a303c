"""Children from before an exec, of which the daemon knows nothing: waited for, so that they go."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio

_THREADS = Path("/proc/self/task")


def reap_inherited(background: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    """Have every child that there is now be reaped at its end; call it before any is started.

    Supervisors are looked after by whoever adopts their run too; whichever is first, is.
    """
    for pid in _children():
        background(partial(_reap, pid))


def _children() -> list[int]:
    """Return our children, as the kernel lists them by the thread that started them."""
    try:
        lists = [(thread / "children").read_text() for thread in _THREADS.iterdir()]
    except OSError:
        # A kernel without such lists: gVisor's.
        import psutil  # noqa: PLC0415

        return [child.pid for child in psutil.Process().children()]
    return [int(pid) for listed in lists for pid in listed.split()]


async def _reap(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # gone, or a kernel without them (before 5.3), where a zombie harms nobody
        return
    try:
        await anyio.wait_readable(pidfd)
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222 - it has ended
    finally:
        os.close(pidfd)
