"""Whether a file has changed since it was read."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[int, ...]


def stamp(path: Path) -> Stamp | None:
    """Return what differs once the file, or what a link leads to, was written or exchanged.

    Or its mode or owner was changed: what could not be read may be readable now.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
