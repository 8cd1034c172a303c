"""What a tree that somebody hostile may be writing to takes from the disk: blocks, and files."""

from __future__ import annotations

import heapq
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runner.archives.footprint import INODE

_BLOCK = 512
#: A file of this size is told apart from the others of its directory.
_LARGE = 1 << 20
_SHOWN = 3
#: What takes less is not remembered by its name, and of a name so many parts.
_WORTH_A_NAME, _NAMED = 1 << 16, 6
#: So many directories are kept open on the way down; further up from there it goes by ``..``.
_HELD = 32
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Usage:
    """What was found."""

    #: In blocks: holes of sparse files take none, and several names of a file take them once.
    bytes: int = 0
    #: Files, directories and links.
    entries: int = 0
    #: Large files, and directories by what else lies in them, with their bytes; largest first.
    largest: tuple[tuple[str, int], ...] = ()
    #: Processor time of the look, in seconds.
    seconds: float = 0.0

    @property
    def charge(self) -> int:
        """Bytes with what each entry takes besides: a disk can run out of inodes, too."""
        return self.bytes + self.entries * INODE


def measure(
    roots: Mapping[Path, str],
    check: Callable[[], None] = lambda: None,
    *,
    since: float = 0.0,
    holders: Callable[[], Iterable[int]] = lambda: (),
) -> Usage:
    """Look at all below ``roots``, each with the name it is shown by; what is gone counts nothing.

    No link is followed and no other file system entered. Of what has not changed ``since`` (seconds
    since the epoch) nothing is counted. ``holders`` tells the processes that may have files open
    which have no name any more; to find them is part of the look. ``check`` is called now and then
    and may raise to stop.
    """
    begun = time.thread_time()
    walk = _Walk(check, since)
    for root, name in roots.items():
        walk.take(root, name)
    walk.take_nameless(holders())
    largest = heapq.nlargest(_SHOWN, walk.sizes.items(), key=lambda item: item[1])
    return Usage(walk.bytes, walk.entries, tuple(largest), time.thread_time() - begun)


@dataclass(slots=True)
class _Level:
    """A directory on the way down; its descriptor is -1 while it is not held."""

    descriptor: int
    identity: tuple[int, int]
    name: str
    #: Its mode, where it was opened against it.
    mode: int | None = None
    #: Directories in it that are still to be looked at.
    rest: list[str] = field(default_factory=list)


class _Walk:
    """One look."""

    def __init__(self, check: Callable[[], None], since: float) -> None:
        self._check = check
        self._since = since
        #: Directories, and files that could be met a second time.
        self._seen: set[tuple[int, int]] = set()
        self._levels: list[_Level] = []
        #: What there is in all on the file systems that were looked at.
        self._totals: set[int] = set()
        self.bytes = self.entries = 0
        self.sizes: dict[str, int] = {}

    def take(self, root: Path, name: str) -> None:
        try:
            self._enter(os.fspath(root), None, name)
            if self._levels:
                self._totals.add(os.fstatvfs(self._levels[0].descriptor).f_blocks)
            while self._levels:
                self._step()
        finally:
            for level in self._levels:
                _close(level)

    def take_nameless(self, holders: Iterable[int]) -> None:
        """Count open files without a name, but for those in memory.

        A run may have them open by an overlay, whose number is none of ours: it has our size.
        """
        for process in holders:
            for found, total in _nameless(process):
                identity = (found.st_dev, found.st_ino)
                if identity not in self._seen and total in self._totals:
                    self._seen.add(identity)
                    self._add("files without a name", found.st_blocks * _BLOCK)

    def _step(self) -> None:
        """Go down into the next directory, or up where there is none left."""
        level = self._levels[-1]
        if level.descriptor < 0 or not level.rest:
            self._leave()
            return
        name = level.rest.pop()
        self._enter(name, level.descriptor, name)
        # Those in the middle are let go: a tree of any depth takes a few descriptors alone.
        if self._levels[-1] is not level and len(self._levels) > _HELD:
            _close(level)

    def _enter(self, path: str, at: int | None, name: str) -> None:
        try:
            descriptor, mode = _opened(path, at)
        except OSError:  # gone, no directory any more, or closed to us
            return
        found = os.fstat(descriptor)
        level = _Level(descriptor, (found.st_dev, found.st_ino), name, mode)
        is_here = at is None or found.st_dev == self._levels[-1].identity[0]
        if not is_here or level.identity in self._seen:
            _close(level)
            return
        self._levels.append(level)
        self._seen.add(level.identity)
        self._look(level, found)

    def _leave(self) -> None:
        """Go up. A directory whose parent is another now was moved: its ways up are lost."""
        child = self._levels.pop()
        parent = self._levels[-1] if self._levels else None
        if parent is not None and parent.descriptor < 0 <= child.descriptor:
            with suppress(OSError):
                descriptor = os.open("..", _OPEN, dir_fd=child.descriptor)
                found = os.fstat(descriptor)
                if (found.st_dev, found.st_ino) == parent.identity:
                    parent.descriptor = descriptor
                else:
                    os.close(descriptor)
        _close(child)

    def _look(self, level: _Level, itself: os.stat_result) -> None:
        """Count what lies in a directory, and note the directories there."""
        self._check()
        is_new = itself.st_ctime >= self._since
        own, entries = (itself.st_blocks * _BLOCK, 1) if is_new else (0, 0)
        with suppress(OSError), os.scandir(level.descriptor) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    level.rest.append(entry.name)
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:  # gone already
                    continue
                if found.st_ctime >= self._since:
                    own += self._file(entry.name, found)
                    entries += 1
        self.entries += entries
        self._add("", own)

    def _file(self, name: str, found: os.stat_result) -> int:
        """Count a large file; return the bytes of a small one."""
        size = found.st_blocks * _BLOCK
        if found.st_nlink == 1 and size < _LARGE:
            return size
        identity = (found.st_dev, found.st_ino)
        if identity in self._seen:  # another name of it, or moved while we looked
            return 0
        self._seen.add(identity)
        if size < _LARGE:
            return size
        self._add(name, size)
        return 0

    def _add(self, name: str, size: int) -> None:
        self.bytes += size
        if size >= _WORTH_A_NAME:
            parts = [level.name for level in self._levels[:_NAMED]]
            parts += ["…"] if len(self._levels) > _NAMED else []
            shown = "/".join([*parts, name] if name else parts)
            self.sizes[shown] = self.sizes.get(shown, 0) + size


def _close(level: _Level) -> None:
    if level.descriptor >= 0:
        try:
            if level.mode is not None:
                os.fchmod(level.descriptor, level.mode)
        finally:
            os.close(level.descriptor)
            level.descriptor = -1


def _opened(path: str, at: int | None) -> tuple[int, int | None]:
    """Open a directory, also one that forbids this to its owner, where that is us.

    Such a one comes with its mode, and is open to its owner until that is put back.
    """
    try:
        return os.open(path, _OPEN, dir_fd=at), None
    except PermissionError:
        handle = os.open(path, _OPEN | os.O_PATH, dir_fd=at)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        itself = Path(f"/proc/self/fd/{handle}")  # whatever has its name by now
        itself.chmod(mode | stat.S_IRUSR | stat.S_IXUSR)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), mode
    finally:
        os.close(handle)


def _nameless(process: int) -> Iterator[tuple[os.stat_result, int]]:
    """Yield the regular files that a process has open and that no directory names.

    With each comes the size of its file system in blocks.
    """
    with suppress(OSError):  # it has ended, or is not ours to look into
        for path in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                if str(path.readlink()).endswith(_DELETED):
                    found = path.stat()
                    if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                        yield found, os.statvfs(path).f_blocks
