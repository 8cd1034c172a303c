"""Reads a tar stream forward, and gives up before hostile headers cost memory or time."""

from __future__ import annotations

import math
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar, cast

from runner.archives.members import LATEST, Kind, Member, shown
from runner.errors import ArtifactBad
from runner.model import Bytes, Span

T = TypeVar("T")

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 18
#: All headers of one member: long names, attributes, a sparse map.
_HEADERS = 256 << 10
#: What headers and padding may add to the content of an archive, and to each of its members.
_MARGIN = 1 << 20
_MARGIN_PER_MEMBER = 8 << 10
#: Of a file, with its holes.
_LARGEST = 1 << 60
#: No name, number or date is as long; tarfile's patterns take the square of the time for these.
_ENDLESS_DIGITS = re.compile(rb"\d{300}")

#: What tarfile and the conversions below it raise for headers that make no sense.
_SENSELESS = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError, EOFError)


def tar_members(stream: BinaryIO, budget: Bytes, looks_like: str) -> Iterator[Member]:
    """Yield the members of a plain tar stream and read it to its end.

    Raises ArtifactBad for what is no tar (with ``looks_like``), is truncated or corrupt, has
    devices or pipes, or has more bytes than ``budget`` and a margin for its headers.
    """
    forward = _Forward(stream, budget)
    try:
        archive = tarfile.TarFile(
            fileobj=cast("BinaryIO", forward), encoding="utf-8", errors="surrogateescape"
        )
    except _SENSELESS as error:
        raise ArtifactBad(f"the object is no archive: {looks_like}") from error
    while (info := _reading(forward.next_header(archive))) is not None:
        yield _member(info, forward)
        # It would keep every header.
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it
    forward.expect_end()


def _reading(step: Callable[[], T]) -> T:
    try:
        return step()
    except _SENSELESS as error:
        raise ArtifactBad(f"the archive is truncated or corrupt: {error}") from error


def _member(info: tarfile.TarInfo, forward: _Forward) -> Member:
    kind = _kind(info)
    if not 0 <= info.size <= _LARGEST:
        raise ArtifactBad(f"the archive is corrupt: {shown(info.name)} has an impossible size")
    if kind is not Kind.FILE:
        return Member(info.name, kind, info.mode, _nanoseconds(info.mtime), target=info.linkname)
    spans = _spans(info) if info.issparse() else None
    stored = info.size if spans is None else sum(span.length for span in spans)
    # What tarfile would put between us and the stream costs as much as a small file itself.
    content = _Plain(forward, stored)
    return Member(
        info.name,
        kind,
        info.mode,
        _nanoseconds(info.mtime),
        Bytes(info.size),
        spans=spans,
        content=cast("BinaryIO", _Content(cast("BinaryIO", content))),
    )


def _spans(info: tarfile.TarInfo) -> tuple[Span, ...]:
    """Return where a file with holes has its data, whichever of GNU's formats told it."""
    told = cast("list[tuple[int, int]]", info.sparse)  # typeshed has another type
    spans = tuple(Span(start, length) for start, length in told if length)
    position = 0
    for span in spans:
        if span.start < position or span.length < 0 or span.end > info.size:
            raise ArtifactBad(f"the archive is corrupt: the data of {shown(info.name)} overlap")
        position = span.end
    return spans


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.isdir():
        return Kind.DIRECTORY
    if info.isreg():
        return Kind.FILE
    if info.issym():
        return Kind.SYMLINK
    if info.islnk():
        return Kind.HARDLINK
    what = "a device" if info.isdev() else f"of the unknown type {info.type!r}"
    if info.isfifo():
        what = "a named pipe"
    raise ArtifactBad(
        f"{shown(info.name)} in the archive is {what}; only files, directories "
        "and links are unpacked"
    )


def _nanoseconds(seconds: float) -> int:
    """Convert a time that may be nonsense; as a float it is true to the microsecond."""
    if not math.isfinite(seconds):
        return 0
    return round(min(max(seconds, 0), LATEST) * 1_000_000) * 1000


class _Content:
    """A member's bytes; what goes wrong with them is the archive's fault."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner

    def read(self, size: int) -> bytes:
        return _reading(lambda: self._inner.read(size))


class _Plain:
    """The next bytes of the stream."""

    def __init__(self, forward: _Forward, size: int) -> None:
        self._forward = forward
        self._left = size

    def read(self, size: int) -> bytes:
        if not self._left:
            return b""
        data = self._forward.read(min(size, self._left))
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        self._left -= len(data)
        return data


class _Forward:
    """The file that ``TarFile`` believes to have: it can be asked where it is and skip ahead."""

    def __init__(self, stream: BinaryIO, budget: Bytes) -> None:
        self._stream = stream
        self._position = 0
        self._allowed = budget + _MARGIN
        # TarFile reads its first header when it is made.
        self._headers: int | None = _HEADERS
        self._last = b""

    def next_header(self, archive: tarfile.TarFile) -> Callable[[], tarfile.TarInfo | None]:
        """Return the step that reads the next header, with all that it may cost."""

        def step() -> tarfile.TarInfo | None:
            self._headers = _HEADERS
            self._allowed += _MARGIN_PER_MEMBER
            found = archive.next()
            self._headers = None
            return found

        return step

    def expect_end(self) -> None:
        """Read what is left. Raises ArtifactBad unless the last block was the mark of the end.

        ``TarFile`` takes any header it cannot read, and any end of the data, for the end of the
        archive.
        """
        if self._last != bytes(_BLOCK):
            raise ArtifactBad(
                f"the archive is truncated: it stops at byte {self._position} without an end mark"
                if len(self._last) < _BLOCK
                else f"the archive is corrupt: the header before byte {self._position} is none"
            )
        self._headers = None
        while self.read(_PIECE):
            pass

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.StreamError("a stream cannot be read backwards")
        headers, self._headers = self._headers, None
        while self._position < position and self.read(min(_PIECE, position - self._position)):
            pass
        self._headers = headers
        return self._position

    def read(self, size: int) -> bytes:
        if self._headers is not None:
            self._headers -= size
            if self._headers < 0:
                raise ArtifactBad(f"a header near byte {self._position} is absurdly long")
        data = self._fill(size)
        self._position += len(data)
        if self._position > self._allowed:
            raise ArtifactBad(
                f"the archive has more than the {self._allowed} bytes that the experiment's "
                "disk need allows"
            )
        if self._headers is not None:
            self._last = data
            if len(data) > _BLOCK and _ENDLESS_DIGITS.search(data):
                raise ArtifactBad(f"the header before byte {self._position} is nonsense")
        return data

    def _fill(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) == size or not data:
            return data
        pieces = [data]
        missing = size - len(data)
        while missing and (data := self._stream.read(missing)):
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)
