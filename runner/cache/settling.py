"""What is done to a tree that was fetched, before it is kept: whose it is, and what it takes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from runner.archives.extents import extents, has_holes
from runner.archives.footprint import INODE, in_blocks, of_file
from runner.archives.walk import Entry, walk
from runner.model import Identity


def settle(root: Path, owner: Identity | None, check: Callable[[], object]) -> int:
    """Give a tree to ``owner`` and return the bytes of the disk that it takes; blocks.

    Links are not followed. ``check`` is called for each entry and may raise to stop. Raises
    OSError.
    """
    total, seen = INODE, set[int]()
    for entry in walk(root, lambda _name, _why: None):
        check()
        state = entry.state
        if owner is not None:
            os.chown(entry.base, owner.uid, owner.gid, dir_fd=entry.parent, follow_symlinks=False)
        if state.st_nlink > 1 and stat.S_ISREG(state.st_mode):
            if state.st_ino in seen:
                continue
            seen.add(state.st_ino)
        total += _of_file(entry, check) if stat.S_ISREG(state.st_mode) else INODE
    if owner is not None:
        os.chown(root, owner.uid, owner.gid)
    return total


def _of_file(entry: Entry, check: Callable[[], object]) -> int:
    size = entry.state.st_size
    if not has_holes(entry.state):
        return of_file(size)
    descriptor = entry.open()
    try:
        return of_file(0) + sum(in_blocks(span.length) for span in extents(descriptor, size, check))
    finally:
        os.close(descriptor)
