"""A directory in which something is tried; one whose maker was killed is removed by the next."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.errors import HostFault
from runner.removal import remove_tree

#: Begins the names of the doctor's.
DOCTORS = ".doctor-"
#: Seconds in which a directory that was just made may not be held yet.
_YOUNG = 60.0


@contextmanager
def held(place: Path) -> Iterator[Path]:
    """Make one of the doctor's in ``place`` and hold it, by a lock, while the block lasts.

    Experiments may pass through it, and see nothing in it. Raises OSError.
    """
    with tempfile.TemporaryDirectory(
        prefix=DOCTORS, dir=place, ignore_cleanup_errors=True
    ) as directory:
        found = Path(directory).resolve()
        descriptor = os.open(found, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            found.chmod(0o711)
            yield found
        finally:
            os.close(descriptor)


def sweep(place: Path) -> list[Path]:
    """Remove those of ours in ``place`` that nobody holds, and return them; blocks.

    What cannot be removed is left to the next one.
    """
    return [path for path in sorted(place.glob(f"{DOCTORS}*")) if _is_swept(path)]


def _is_swept(path: Path) -> bool:
    with suppress(OSError, HostFault):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or not found.st_mtime < time.time() - _YOUNG:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(path)
            return True
        finally:
            os.close(descriptor)
    return False
