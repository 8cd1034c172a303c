"""Whether the machine itself runs out of memory, and which run has to give way before it does.

The runs of one daemon tell each other how far above their bookings they are, in a file of each
one's directory: they do so also while no daemon is there.
"""

from __future__ import annotations

import os
import time

from runner.supervisor import records
from runner.supervisor.hierarchies import lines, words

#: With less than this available a run is ended, in bytes; on small machines a share of all.
_DANGER = 256 << 20
_SHARE = 16
#: Version 1 writes "no limit" as the largest number of whole pages.
_UNLIMITED = 1 << 60
#: What another run said so many seconds ago may not be so any more.
_STALE = 5.0


class Machine:
    """The memory that is left to us: the machine's, or our container's."""

    def __init__(self, groups: tuple[str, bool], root: str = "") -> None:
        """``groups``: the directory of our own memory group, and whether it is of version 1."""
        self._root = root
        self._bounded = _bounded(*groups)
        total = min([_meminfo(root, "MemTotal"), *(limit for limit, *_ in self._bounded)])
        #: Bytes; what is left must not become less.
        self.danger = min(_DANGER, total // _SHARE)

    def available(self) -> int:
        """Return the bytes that processes could still get."""
        found = [_meminfo(self._root, "MemAvailable")]
        for limit, usage, stat, word in self._bounded:
            used = int(next(iter(words(usage)), "0"))
            cached = next(
                (int(line.split()[1]) for line in lines(stat) if line.startswith(word)), 0
            )
            found.append(limit - max(0, used - cached))
        return min(found)


def _bounded(directory: str, is_v1: bool) -> list[tuple[int, str, str, str]]:  # noqa: FBT001 - a pair
    """Return limit, files of use and of details, and the cache's name, of each limit on us."""
    limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    word = "total_inactive_file "
    if not is_v1:
        limit, usage, word = "memory.max", "memory.current", "inactive_file "
    found = []
    while directory.count("/") > 1 and (text := words(f"{directory}/{limit}")) != []:
        if text[0].isdigit() and int(text[0]) < _UNLIMITED:
            found.append((int(text[0]), f"{directory}/{usage}", f"{directory}/memory.stat", word))
        directory = os.path.dirname(directory)
    return found


def _meminfo(root: str, name: str) -> int:
    for line in lines(f"{root}/proc/meminfo"):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


class Rivals:
    """The runs beside this one that have taken more than they booked."""

    def __init__(self, directory: bytes) -> None:
        self._directory = directory
        self._told_at = 0.0

    def is_first(self, excess: int) -> bool:
        """Tell the others; say whether we are the furthest above our booking, and they know it.

        At the first time they have not had the time to answer.
        """
        now = time.monotonic()
        is_known = now - self._told_at < _STALE and self._told_at > 0
        self._told_at = now
        try:
            records.write(self._directory, records.EXCESS, b"%d %.3f\n" % (excess, now))
        except OSError:
            return True  # a full disk: nobody can be asked
        return is_known and excess >= max(self._others(now), default=0)

    def _others(self, now: float) -> list[int]:
        above, own = os.path.split(self._directory.rstrip(b"/"))
        found = []
        for name in os.listdir(above):
            excess, when = (0, 0.0) if name == own else _said(os.path.join(above, name))
            if excess and abs(now - when) < _STALE:
                found.append(excess)
        return found


def _said(directory: bytes) -> tuple[int, float]:
    """Return how far another run is above its booking, and when it said so; else zeros."""
    try:
        excess, when = (records.read(directory, records.EXCESS) or b"").split()
        return int(excess), float(when)
    except (OSError, ValueError):
        return 0, 0.0  # no directory of a run, or nothing was said, or what is there is none
