"""Who holds a lock file, told by the kernel's own list: trying the lock would disturb a daemon."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from runner import own_files

_LIST = Path("/proc/locks")
_FIELDS, _KIND, _MODE, _PID, _WHERE = 6, 1, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Holder:
    """What a daemon writes into its locks."""

    pid: int
    state_dir: str

    def __str__(self) -> str:
        return f"the runner with pid {self.pid} and state directory {self.state_dir!r}"


def note_of(state_dir: Path) -> bytes:
    """Return what this process writes into a lock."""
    return json.dumps({"pid": os.getpid(), "state_dir": str(state_dir)}).encode()


def noted(note: bytes) -> Holder | None:
    """Read what stands in a lock; anybody may have written it, so that it may be nothing."""
    try:
        return own_files.parsed(note, Holder)
    except ValueError:
        return None


def holder(path: Path, locks: Path = _LIST, *, alone: bool = False) -> int | None:
    """Return the pid that holds ``path`` with ``flock``; ``None``: nobody that is seen here.

    A pid that has no number in this container is -1. ``alone``: one that shares it with nobody.
    """
    try:
        found = path.stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    for fields in map(str.split, lines):
        # Waiters follow their lock, marked by an arrow.
        if len(fields) < _FIELDS or fields[_KIND] != "FLOCK":
            continue
        if alone and fields[_MODE] == "READ":
            continue
        where, _, inode = fields[_WHERE].rpartition(":")
        pid = int(fields[_PID])
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
