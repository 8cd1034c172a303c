"""Reads a zip archive, which needs a file that can be rewound: its directory is at its end."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar, cast

from runner.archives.members import Kind, Member
from runner.errors import ArtifactBad
from runner.model import Bytes

T = TypeVar("T")

#: zipfile reads the whole directory at once; 400,000 members have one of this size.
_DIRECTORY = 64 << 20
#: For the others zipfile has no bound on what a few bytes become.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_LONGEST_TARGET = 4096
_SENSELESS = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,  # encrypted
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
)


def zip_members(file: BinaryIO) -> Iterator[Member]:
    """Yield the members of a zip archive. Raises ArtifactBad."""
    bounded = cast("BinaryIO", _Bounded(file))
    with contextlib.closing(_reading(lambda: zipfile.ZipFile(bounded))) as archive:
        for info in archive.infolist():
            yield _reading(lambda info=info: _member(archive, info))  # type: ignore[misc]
            # mypy cannot infer a lambda with a default; without it every call saw the last one


def _reading(step: Callable[[], T]) -> T:
    try:
        return step()
    except _SENSELESS as error:
        raise ArtifactBad(f"the zip archive cannot be read: {error}") from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    if info.compress_type not in _METHODS:
        raise ArtifactBad("the zip archive is compressed with another method than deflate")
    mode = info.external_attr >> 16
    mtime = _nanoseconds(info.date_time)
    if info.is_dir():
        return Member(info.filename, Kind.DIRECTORY, mode or 0o755, mtime)
    if stat.S_ISLNK(mode):
        with archive.open(info) as content:
            target = content.read(_LONGEST_TARGET + 1)
        return Member(info.filename, Kind.SYMLINK, mode, mtime, target=target.decode())
    return Member(
        info.filename,
        Kind.FILE,
        mode or 0o644,
        mtime,
        Bytes(info.file_size),
        content=cast("BinaryIO", _Content(cast("BinaryIO", archive.open(info)))),
    )


def _nanoseconds(when: tuple[int, int, int, int, int, int]) -> int:
    """Convert a local time that may be no date."""
    try:
        return max(int(dt.datetime(*when).timestamp()), 0) * 10**9  # noqa: DTZ001 - zip has no zones
    except (ValueError, OverflowError):
        return 0


class _Content(io.RawIOBase):
    """A member's bytes, closed when they end."""

    def __init__(self, inner: BinaryIO) -> None:
        super().__init__()
        self._inner = inner

    def read(self, size: int | None = -1, /) -> bytes:
        piece = _reading(lambda: self._inner.read(-1 if size is None else size))
        if not piece:
            self._inner.close()
        return piece


class _Bounded(io.RawIOBase):
    """Refuses to read so much at once that it can only be a hostile directory."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = 0, /) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY:
            raise ArtifactBad("the directory of the zip archive is absurdly large")
        return self._file.read(-1 if size is None else size)
