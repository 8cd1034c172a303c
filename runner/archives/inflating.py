"""Decompression of a stream that can only be read forward, with bounded memory."""

from __future__ import annotations

import bz2
import enum
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from runner.errors import ArtifactBad

_PIECE = 1 << 18
#: ``xz -9`` needs 65 MiB; a file may ask for 4 GiB.
_XZ_MEMORY = 256 << 20


class Compression(enum.StrEnum):
    """How an archive is compressed. Values are what people read in errors."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"


MAGIC = {
    b"\x1f\x8b": Compression.GZIP,
    b"BZh": Compression.BZIP2,
    b"\xfd7zXZ\x00": Compression.XZ,
}


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib's decompressor in the manners of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_NEW: dict[Compression, Callable[[], _Decompressor]] = {
    Compression.GZIP: _Gunzip,
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
}


class Inflating(io.RawIOBase):
    """The plain bytes of a compressed stream, several concatenated ones included.

    Nothing is decompressed beyond what is asked for, so a bomb costs what its reader allows.
    """

    def __init__(self, source: BinaryIO, compression: Compression) -> None:
        super().__init__()
        self._source = source
        self._kind = compression
        self._decompressor = _NEW[compression]()
        self._pending = b""

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes, at least one before the end. Raises ArtifactBad."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_PIECE), b""))
        if not size:  # zlib would take it for no limit at all
            return b""
        while True:
            if self._decompressor.eof and not self._begin_next():
                return b""
            data = self._input()
            try:
                plain = self._decompressor.decompress(data, size)
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                raise ArtifactBad(
                    f"the archive's {self._kind} data are corrupt: {error}"
                ) from error
            if plain:
                return plain
            if not data and self._decompressor.needs_input and not self._decompressor.eof:
                raise ArtifactBad(f"the archive is truncated: its {self._kind} data end too early")

    def _input(self) -> bytes:
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        return self._source.read(_PIECE) if self._decompressor.needs_input else b""

    def _begin_next(self) -> bool:
        """Go on with the next of several concatenated streams, if there is one."""
        rest = self._decompressor.unused_data.lstrip(b"\0")
        longest = max(map(len, MAGIC))
        while len(rest) < longest and (piece := self._source.read(_PIECE)):
            rest = (rest + piece).lstrip(b"\0")
        if not rest:
            return False
        if not any(rest.startswith(m) for m, kind in MAGIC.items() if kind is self._kind):
            raise ArtifactBad(
                f"something else follows the archive's {self._kind} data: {rest[:16]!r}"
            )
        self._decompressor = _NEW[self._kind]()
        self._pending = rest
        return True
