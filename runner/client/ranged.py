"""An object of a store as a file that can be sought in: only what is read of it is fetched."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

from runner.model import Span


class Ranged(io.RawIOBase):
    """Bytes of one version of an object, by ranges. What the store raises is raised."""

    def __init__(self, size: int, fetch: Callable[[Span], bytes]) -> None:
        """``fetch`` returns exactly the bytes of a range, which lies within ``size``."""
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._place = 0

    def readable(self) -> bool:
        """Tell that this is for reading."""
        return True

    def seekable(self) -> bool:
        """Tell that places are cheap to change."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place; return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Fetch as much as there is room for."""
        length = min(len(buffer), self._size - self._place)
        if length <= 0:
            return 0
        buffer[:length] = self._fetch(Span(self._place, length))
        self._place += length
        return length
