"""The open files of this process."""

from __future__ import annotations

import os


def close_all() -> None:
    """Close all but the standard streams: what a library of the daemon left inheritable."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:  # noqa: PLR2004 - the standard streams
            _close(int(name))


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # the descriptor of the listing itself
