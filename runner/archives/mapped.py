"""Files that programs change through shared memory maps, which the kernel stamps late."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

Mapped = Callable[[], Collection[int]]
"""Asked after a look at files: the inodes of those whose times prove nothing."""

_PROCESSES = Path("/proc")
#: Parts of a line of ``/proc/PID/maps``: range, permissions, offset, device, inode, path.
_PERMISSIONS, _INODE = 1, 4


def nothing_at_work() -> frozenset[int]:
    """Return none: of what only programs that have ended could write to, all times are right."""
    return frozenset()


def written_through_maps() -> frozenset[int]:
    """Return the inodes of all files that a process of this machine can change through a map.

    Such a file may change without a new time of change for as long as its pages were not written
    back, so its times prove nothing. A map made after the look is no danger: its first write stamps
    the file. Processes of other users cannot be asked by an ordinary user; its experiments are its
    own. Empty where there is no ``/proc``.
    """
    found: set[int] = set()
    with suppress(OSError):
        for process in _PROCESSES.iterdir():
            if process.name.isdecimal():
                with suppress(OSError):  # it has ended, or is somebody else's
                    found |= _mapped_by(process)
    return frozenset(found)


def _mapped_by(process: Path) -> set[int]:
    found = set()
    with (process / "maps").open("rb") as lines:
        for line in lines:
            parts = line.split(maxsplit=_INODE + 1)
            if parts[_PERMISSIONS][1:4:2] == b"ws":
                found.add(int(parts[_INODE]))
    return found
