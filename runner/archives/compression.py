"""What an archive is: recognised by its bytes when read, chosen by its key when written."""

from __future__ import annotations

import bz2
import contextlib
import enum
import gzip
import io
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from runner.archives.inflating import MAGIC, Compression, Inflating
from runner.errors import ArtifactBad

__all__ = [
    "Compression",
    "Container",
    "Peeked",
    "Recognised",
    "compressed",
    "compression_for",
    "recognise",
]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
#: What people upload by accident, and what they should know about it.
_GUESSES = {
    b"\x28\xb5\x2f\xfd": "zstd data, which is not supported: use gzip, bzip2, xz or none",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive, which is not supported: use tar",
    b"Rar!": "a RAR archive, which is not supported: use tar",
    b"<?xml": "XML, perhaps a server's error",
    b"<!DOCTYPE": "HTML, perhaps a server's error page",
    b"<html": "HTML, perhaps a server's error page",
    b'{"': "JSON, perhaps a server's error",
    b"\x7fELF": "a program",
    b"\x80": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"#!": "a script",
}
_SHOWN = 16

_EXTENSIONS = {
    Compression.GZIP: (".gz", ".gzip"),
    Compression.BZIP2: (".tgz", ".tb2", ".tbz", ".tbz2", ".bz2", ".bzip2"),
    Compression.XZ: (".xz", ".txz"),
}
# Uploads are bounded by these, and what they carry is mostly weights, which hardly shrink.
_GZIP_LEVEL = 3
_XZ_PRESET = 1


class Container(enum.StrEnum):
    """What holds the members."""

    TAR = "tar"
    ZIP = "zip"


class Peeked(io.RawIOBase):
    """A stream whose first bytes can be looked at and are still to be read."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._kept = b""

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only where the stream ends."""
        while len(self._kept) < size:
            piece = self._stream.read(size - len(self._kept))
            if not piece:
                break
            self._kept += piece
        return self._kept[:size]

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes; none only at the end."""
        wanted = -1 if size is None else size
        if not self._kept:
            return self._stream.read(wanted)
        if wanted < 0:
            piece, self._kept = self._kept + self._stream.read(), b""
        else:
            piece, self._kept = self._kept[:wanted], self._kept[wanted:]
        return piece


@dataclass(frozen=True, slots=True)
class Recognised:
    """A stream of which we know what it is, as far as its first bytes tell."""

    container: Container
    compression: Compression
    #: The decompressed bytes; reading raises ArtifactBad where they are truncated or corrupt.
    stream: BinaryIO
    #: One sentence about the first decompressed bytes, for when it turns out to be no archive.
    looks_like: str


def recognise(stream: BinaryIO) -> Recognised:
    """Find out how ``stream`` is compressed and what it contains. Raises ArtifactBad if empty."""
    head = Peeked(stream)
    start = head.peek(max(map(len, MAGIC)))
    if not start:
        raise ArtifactBad("the object is empty, not even an archive without members")
    compression = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)
    if compression is None:
        container = Container.ZIP if start.startswith(_ZIP) else Container.TAR
        return Recognised(container, Compression.NONE, _binary(head), _describe(head.peek(_SHOWN)))
    plain = Peeked(_binary(Inflating(_binary(head), compression)))
    return Recognised(Container.TAR, compression, _binary(plain), _describe(plain.peek(_SHOWN)))


def _describe(start: bytes) -> str:
    guess = next((text for magic, text in _GUESSES.items() if start.startswith(magic)), None)
    if guess:
        return f"it looks like {guess}"
    return f"it begins with {start!r}" if start else "there is nothing in it"


def compression_for(key: str) -> Compression:
    """Choose by the key's extension, as the readers in the field expect it.

    ``.tgz`` is written as bzip2: the original runner reads it as nothing else, while StudioML's
    client, this runner and ``tar`` look at the bytes. A key without a known extension gets a
    plain tar.
    """
    lowered = key.lower()
    return next(
        (kind for kind, endings in _EXTENSIONS.items() if lowered.endswith(endings)),
        Compression.NONE,
    )


@contextlib.contextmanager
def compressed(stream: BinaryIO, compression: Compression) -> Iterator[BinaryIO]:
    """Give a stream that compresses into ``stream`` and is complete when the block ends.

    The same bytes in are the same bytes out: no time and no name is written.
    """
    if compression is Compression.NONE:
        yield stream
        return
    with _compressor(stream, compression) as file:
        yield file


def _compressor(stream: BinaryIO, compression: Compression) -> BinaryIO:
    if compression is Compression.GZIP:
        file: object = gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0)
    elif compression is Compression.BZIP2:
        file = bz2.BZ2File(stream, "wb")
    else:
        file = lzma.LZMAFile(stream, "wb", preset=_XZ_PRESET)  # noqa: SIM115 - the caller does
    return cast("BinaryIO", file)


def _binary(stream: io.RawIOBase) -> BinaryIO:
    return cast("BinaryIO", stream)
