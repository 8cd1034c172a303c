"""The clock that files are stamped with: what can be told from a time of change, and when."""

from __future__ import annotations

import os
import time

#: ``CLOCK_REALTIME_COARSE`` of Linux.
_STAMPING_CLOCK = 5
_LONGEST_WAIT = 0.05


def is_past(stamp: int) -> bool:
    """Tell whether a change made from now on gets a later stamp than ``stamp`` (in ns)."""
    return _now() > stamp


def wait_past(stamp: int) -> bool:
    """Wait until a change would get a later stamp, some milliseconds at most; else False."""
    give_up = time.monotonic() + _LONGEST_WAIT
    while not is_past(stamp):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.001)
    return True


def seen(state: os.stat_result) -> str:
    """Return a text that is another one when a file, link or directory was changed in between.

    Changed in content, permissions or owner, or replaced: the kernel stamps the time of the last
    change (ctime) at every write, and no program can set it back as it can mtime. Two changes
    within one tick of the stamping clock look alike, see ``is_past``; so do those through a shared
    memory map, see ``mapped``.
    """
    facts = (state.st_mode, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    return "-".join(f"{fact:x}" for fact in facts)


def _now() -> int:
    try:
        return time.clock_gettime_ns(_STAMPING_CLOCK)
    except OSError:  # not Linux
        return time.time_ns()
