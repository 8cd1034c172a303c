"""How far the artifacts of an attempt have come on their way here."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, TypeVar, cast

from runner.model import Location
from runner.stores.base import ObjectInfo, Store
from runner.stores.lent import LentStore

T = TypeVar("T")

#: Seconds after which somebody who looks may want to know.
_LONG = 5.0


class Progress:
    """Bytes fetched, of the objects whose fetching was begun. Counted in many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[Location, int] = {}
        self._moved = self._total = 0
        self._begun: float | None = None

    @property
    def now(self) -> tuple[int, int] | None:
        """Bytes that are here, and bytes in all; ``None`` when it will not take long."""
        with self._lock:
            if self._begun is None or self._clock() - self._begun < _LONG:
                return None
            return min(self._moved, self._total), self._total

    @property
    def read(self) -> int:
        """Bytes that were read from stores so far."""
        with self._lock:
            return self._moved

    def watched(self, store: Store) -> Store:
        """Return the store; what is read through it is counted."""
        return _Watched(store, self)

    def described(self, location: Location, info: ObjectInfo) -> None:
        """Note how large an object is."""
        with self._lock:
            self._sizes[location] = info.size

    def begun(self, location: Location) -> None:
        """Note that an object is on its way."""
        with self._lock:
            if self._begun is None:
                self._begun = self._clock()
            self._total += self._sizes.get(location, 0)

    def moved(self, count: int) -> None:
        """Note bytes that have come."""
        with self._lock:
            self._moved += count


class _Watched(LentStore):
    """A store that tells what is read from it."""

    def __init__(self, store: Store, progress: Progress) -> None:
        super().__init__(store, store.endpoint)
        self._progress = progress

    async def stat(self, location: Location) -> ObjectInfo:
        """Describe an object, and remember its size."""
        info = await super().stat(location)
        self._progress.described(location, info)
        return info

    async def read(
        self,
        location: Location,
        consume: Callable[[BinaryIO], T],
        *,
        version: str | None = None,
    ) -> T:
        """Stream an object through ``consume``, counting."""
        self._progress.begun(location)

        def counted(stream: BinaryIO) -> T:
            return consume(cast("BinaryIO", _Counted(stream, self._progress)))

        return await super().read(location, counted, version=version)


class _Counted(io.RawIOBase):
    """A store's stream for reading, with its ``check``."""

    def __init__(self, stream: BinaryIO, progress: Progress) -> None:
        super().__init__()
        self._stream = stream
        self._progress = progress
        self.check: Callable[[], object] = getattr(stream, "check", lambda: None)

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        data = self._stream.read(-1 if size is None else size)
        self._progress.moved(len(data))
        return data

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read(-1)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Fill ``buffer`` and return how much of it."""
        count = cast("io.BufferedReader", self._stream).readinto(buffer)
        self._progress.moved(count)
        return count
