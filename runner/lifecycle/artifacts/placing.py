"""Copies a kept tree to where a run may change it, on machines where no overlay can be made."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from runner.archives.extents import extents, has_holes
from runner.model import Span

Check = Callable[[], None]

#: Small files are the disk's metadata, which several threads ask for faster than one.
_THREADS = 4
#: Files of one directory that one thread takes at a time.
_BATCH = 64
_PIECE = 16 << 20
_BUFFER = 1 << 20
#: ``ioctl`` that makes two files share their blocks until one is written to.
_FICLONE = 0x40049409
#: This file system, or these two, cannot do it in this way.
_NOT_SO = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOTTY,
        errno.ENOSYS,
        errno.EPERM,
        errno.ETXTBSY,
    }
)


def place(kept: Path, into: Path, check: Check) -> None:
    """Make ``into``, which is not there, a copy of the tree ``kept``; blocks.

    Modes, times, holes and symbolic links are kept; names of one file stay names of one file, but
    never of one in ``kept``. The owner is us. File systems that can share blocks copy none.
    ``check`` is called often, from several threads, and may raise to stop. Raises OSError; what
    was copied so far stays then.
    """
    into.mkdir(mode=0o700)
    copying = _Copying(check)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="place") as pool:
        try:
            copying.walk(kept, into, pool)
            for one in copying.batches:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    copying.finish()


@dataclass
class _Copying:
    check: Check
    batches: list[Future[None]] = field(default_factory=list)
    #: With what is set at the end: making an entry changes its directory's time.
    _directories: list[tuple[str, os.stat_result]] = field(default_factory=list)
    #: The copy of each file that has several names.
    _first: dict[int, str] = field(default_factory=dict)
    _second_names: list[tuple[str, str]] = field(default_factory=list)

    def walk(self, kept: Path, into: Path, pool: ThreadPoolExecutor) -> None:
        """Make directories and links, and have the files copied by ``pool``."""
        waiting = [(os.fspath(kept), os.fspath(into))]
        while waiting:
            self.check()
            source, target = waiting.pop()
            files: list[tuple[str, str]] = []
            with os.scandir(source) as entries:
                for entry in entries:
                    copy = os.path.join(target, entry.name)  # noqa: PTH118 - a million entries
                    if entry.is_dir(follow_symlinks=False):
                        os.mkdir(copy, 0o700)  # noqa: PTH102 - likewise
                        self._directories.append((copy, entry.stat(follow_symlinks=False)))
                        waiting.append((entry.path, copy))
                    elif entry.is_symlink():
                        _link(entry.path, copy)
                    elif self._is_first(entry, copy):
                        files.append((entry.path, copy))
            self.batches += (
                pool.submit(_copy_all, files[start : start + _BATCH], self.check)
                for start in range(0, len(files), _BATCH)
            )

    def _is_first(self, entry: os.DirEntry[str], copy: str) -> bool:
        state = entry.stat(follow_symlinks=False)
        if state.st_nlink == 1:
            return True
        first = self._first.setdefault(state.st_ino, copy)
        if first != copy:
            self._second_names.append((first, copy))
        return first == copy

    def finish(self) -> None:
        """Give files their further names, and directories what they had."""
        for first, second in self._second_names:
            os.link(first, second)
        for path, state in reversed(self._directories):
            os.chmod(path, stat.S_IMODE(state.st_mode))  # noqa: PTH101 - likewise
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _link(source: str, target: str) -> None:
    state = os.stat(source, follow_symlinks=False)  # noqa: PTH116 - likewise
    os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211 - likewise
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns), follow_symlinks=False)


def _copy_all(files: Sequence[tuple[str, str]], check: Check) -> None:
    for source, target in files:
        check()
        _copy(source, target, check)


def _copy(source: str, target: str, check: Check) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(target, flags, 0o600)
        try:
            _content(reading, writing, check)
            state = os.fstat(reading)
            os.fchmod(writing, stat.S_IMODE(state.st_mode))
            os.utime(writing, ns=(state.st_atime_ns, state.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _content(reading: int, writing: int, check: Check) -> None:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError as error:
        if error.errno not in _NOT_SO:
            raise
    else:
        return
    state = os.fstat(reading)
    if not has_holes(state):
        _copy_span(reading, writing, Span(0, state.st_size), check)
        return
    os.ftruncate(writing, state.st_size)
    for span in extents(reading, state.st_size, check):
        _copy_span(reading, writing, span, check)


def _copy_span(reading: int, writing: int, span: Span, check: Check) -> None:
    try:
        _in_the_kernel(reading, writing, span, check)
    except OSError as error:
        if error.errno not in _NOT_SO:
            raise
    else:
        return
    at = span.start
    while data := os.pread(reading, min(_BUFFER, span.end - at), at):
        check()
        at += os.pwrite(writing, data, at)


def _in_the_kernel(reading: int, writing: int, span: Span, check: Check) -> None:
    at = span.start
    while at < span.end:
        check()
        copied = os.copy_file_range(reading, writing, min(_PIECE, span.end - at), at, at)
        if not copied:
            return
        at += copied
