"""Who holds a lock file, told by the kernel's own list: trying the lock would disturb a daemon."""

from __future__ import annotations

import os
from pathlib import Path

_LIST = Path("/proc/locks")
_FIELDS = 6


def holder(path: Path, locks: Path = _LIST) -> int | None:
    """Return the pid that holds ``path`` with ``flock``; ``None``: nobody that is seen here.

    A pid that has no number in this container is -1.
    """
    try:
        found = path.stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    for fields in map(str.split, lines):
        # Waiters follow their lock, marked by an arrow.
        if len(fields) < _FIELDS or fields[1] != "FLOCK":
            continue
        where, _, inode = fields[5].rpartition(":")
        pid = int(fields[4])
        # Overlays and subvolumes tell the list another device than everybody else.
        if inode == str(found.st_ino) and (where == device or _has_open(pid, path)):
            return pid or -1
    return None


def _has_open(pid: int, path: Path) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(path.samefile(entry.path) for entry in entries)
    except OSError:  # it has ended, or is somebody else's
        return False
