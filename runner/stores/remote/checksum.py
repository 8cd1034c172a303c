"""Compares what arrived with what the store knows of it: always the length, and its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import Checksum, ObjectInfo
from runner.stores.remote.parts import boundaries

try:
    import google_crc32c
except ImportError:  # it comes with the Google SDK
    google_crc32c = None  # type: ignore[assignment]

#: Clients keep immutable artifacts under the digest of their content (spec/client.md).
_BLOB = re.compile(r"(?:^|/)blobstore/([0-9a-f]{64})\.[^/]*$")
#: ``google_crc32c`` takes bytes alone and keeps the interpreter's lock.
_PIECE = 256 << 10


class Damaged(StoreUnavailable):
    """What arrived is not what the store says it has; it is not used, and fetched again later."""


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32c:
    """CRC-32C as Google writes it: big-endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        for start in range(0, len(data), _PIECE):
            self._value = google_crc32c.extend(self._value, bytes(data[start : start + _PIECE]))

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Parts:
    """S3's ETag of an object that came in parts: the MD5 of the parts' MD5s."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes: Iterator[int] = iter(sizes)
        self._count = len(sizes)
        self._left = next(self._sizes)
        self._part = _md5()
        self._whole = _md5()

    def update(self, data: memoryview, /) -> None:
        while data:
            piece = data[: self._left]
            self._part.update(piece)
            self._left -= len(piece)
            data = data[len(piece) :]
            if not self._left:
                self._whole.update(memoryview(self._part.digest()))
                self._part, self._left = _md5(), next(self._sizes, -1)

    def hexdigest(self) -> str:
        return f"{self._whole.hexdigest()}-{self._count}"


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the bytes of an object must be like."""

    size: int
    #: ``None``: nobody told a digest that can be computed here.
    checksum: Checksum | None
    #: For ``md5-parts``.
    part_sizes: tuple[int, ...] = ()


def expected(
    location: Location, info: ObjectInfo, first_part: Callable[[], int | None]
) -> Expected:
    """Choose what to compare: the digest in a blobstore key beats what the store says.

    ``first_part`` asks the store for the size of the first part, where that is needed.
    """
    named = _BLOB.search(f"/{location.key}")
    checksum = Checksum("sha256", named[1]) if named else info.checksum
    if checksum is None or (checksum.algorithm == "crc32c" and google_crc32c is None):
        return Expected(info.size, None)
    if checksum.algorithm != "md5-parts":
        return Expected(info.size, checksum)
    count = int(checksum.digest.rpartition("-")[2])
    # Without the true size of the parts another digest would prove nothing.
    first = info.size if count == 1 else first_part()
    sizes = boundaries(info.size, count, first) if first else None
    return Expected(info.size, checksum if sizes else None, tuple(sizes or ()))


class Verifier:
    """Follows the bytes of an object in their order."""

    def __init__(self, location: Location, wanted: Expected) -> None:
        self._location = location
        self._wanted = wanted
        self._digest = _digest(wanted)
        self._length = 0

    def update(self, data: memoryview) -> None:
        """Take the next bytes; the interpreter's lock is free meanwhile."""
        self._length += len(data)
        if self._digest is not None:
            self._digest.update(data)

    def finish(self) -> None:
        """Raise Damaged unless all has come and is right."""
        wanted, checksum = self._wanted, self._wanted.checksum
        if wanted.size not in {-1, self._length}:
            raise Damaged(
                f"{self._location}: {self._length} bytes arrived, the store has {wanted.size}"
            )
        if checksum is None or self._digest is None:
            return
        found = self._digest.hexdigest()
        if found != checksum.digest:
            raise Damaged(
                f"{self._location}: what arrived has the {checksum.algorithm} {found}, "
                f"but {checksum.digest} is expected"
            )


def is_of(checksum: Checksum, body: memoryview) -> bool:
    """Tell whether a checksum is that of some bytes; one that cannot be computed is not."""
    is_missing = checksum.algorithm == "crc32c" and google_crc32c is None
    if is_missing or checksum.algorithm == "md5-parts":
        return False
    digest = _digest(Expected(len(body), checksum))
    assert digest is not None  # noqa: S101 - there is a checksum
    digest.update(body)
    return digest.hexdigest() == checksum.digest


def _digest(wanted: Expected) -> _Digest | None:
    checksum = wanted.checksum
    if checksum is None:
        return None
    match checksum.algorithm:
        case "md5-parts":
            return _Parts(list(wanted.part_sizes))
        case "crc32c":
            return _Crc32c()
        case "md5":
            return _md5()
        case _:
            return hashlib.new(checksum.algorithm)
