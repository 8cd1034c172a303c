"""The stream a store gives to a worker thread: stoppable, with the store's own errors."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO, cast

from runner.blocking import Stop


class GuardedStream(io.RawIOBase):
    """Checks for a stop and translates errors at every operation, and only there.

    What a consumer's or producer's own code raises crosses the seam as it is: an ``OSError`` of
    the disk that an archive is unpacked to is no failure of the store.
    """

    def __init__(
        self,
        inner: BinaryIO,
        stop: Stop,
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__()
        self._inner = inner
        self._stop = stop
        self._translated = translated

    def check(self) -> None:
        """Raise ``Interrupted`` when the transfer is to end; for work between two operations."""
        self._stop.check()

    def readable(self) -> bool:
        """Say what the store opened it for."""
        return self._inner.readable()

    def writable(self) -> bool:
        """Say what the store opened it for."""
        return self._inner.writable()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes; short only at the end of the object."""
        self._stop.check()
        with self._translated():
            return self._inner.read(-1 if size is None else size)

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read(-1)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Fill ``buffer`` and return how much of it."""
        self._stop.check()
        with self._translated():
            return cast("io.BufferedReader", self._inner).readinto(buffer)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        # as for readinto
        """Write all of ``data``."""
        self._stop.check()
        with self._translated():
            return self._inner.write(data)
