"""Whether a directory changed since the last look, without reading its files."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from runner.archives.stamps import wait_past
from runner.archives.stopping import Check, check_of
from runner.archives.walk import walk


def signature(
    directory: Path,
    *,
    check: Check | None = None,
    mapped: Callable[[], Collection[int]] = frozenset,
) -> str:
    """Return a text that is another one when anything in ``directory`` was changed in between.

    It covers names, kinds, permissions, sizes, times, inodes and link targets. Content counts
    through the time of the last change (ctime), which the kernel sets at every write and no
    program can set back, as it can mtime. So a model of any size costs one ``stat``; touching a
    file counts as a change, which costs an upload and never loses one. Access times do not count.

    Two writes within one tick of the stamping clock look alike. Therefore the look ends only when
    that clock has passed the youngest stamp, a few milliseconds at most; a directory where that
    cannot be had (a file server's clock ahead of ours) never equals its later self. The one write
    that the kernel may stamp late is one through a shared memory map: nor does a directory with a
    file whose inode is in ``mapped``, asked at the end of the look (``written_through_maps``, where
    programs may be at work).
    """
    check = check_of(None, check)
    digest = hashlib.blake2b(digest_size=16)
    youngest, inodes = 0, set[int]()
    for entry in walk(directory, lambda name, why: digest.update(_line(name, why))):
        check()
        state = entry.state
        youngest = max(youngest, state.st_ctime_ns)
        if stat.S_ISREG(state.st_mode):
            inodes.add(state.st_ino)
        facts = [stat.S_IFMT(state.st_mode), stat.S_IMODE(state.st_mode), state.st_ino]
        if not stat.S_ISDIR(state.st_mode):
            # A directory's own size and times follow from its entries, which are all here.
            facts += [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        digest.update(_line(entry.name, *facts))
    if not wait_past(youngest) or (inodes and not inodes.isdisjoint(mapped())):
        digest.update(secrets.token_bytes(16))
    return digest.hexdigest()


def _line(name: str, *facts: object) -> bytes:
    # NUL is in no name, so no two trees write the same lines.
    return b"\0".join([os.fsencode(name), *(str(fact).encode() for fact in facts), b"\n"])
