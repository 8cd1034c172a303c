"""One range of an object, read on after a fault from the byte it had got to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import ObjectInfo
from runner.stores.remote.client import Body, Client
from runner.stores.remote.retrying import Attempts

#: What one read asks for: a fault or a stop loses no more.
_SLICE = 256 << 10


@dataclass(frozen=True, slots=True)
class Source:
    """One object, and the tries that all who read it have together."""

    client: Client
    location: Location
    attempts: Attempts


class Range:
    """Bytes ``start`` to ``end`` of one version, read by one thread.

    Raises Conflict when the object has another version meanwhile.
    """

    def __init__(self, source: Source, *, start: int, length: int) -> None:
        self._source = source
        self._attempts = source.attempts
        self._place = start
        #: ``None``: where the body ends.
        self._end: int | None = start + length
        self._version: str | None = None
        self._body: Body | None = None
        self._open = ExitStack()
        self._tries = 0

    def discover(self) -> ObjectInfo:
        """Open it at whatever version there is, which is returned and kept to.

        The end moves to that of the object, or to what the server sends.
        """
        body = self._attempts.repeat(self._opened)
        self._version = body.info.version
        size = body.info.size
        if size < 0:
            self._end = None
        elif self._end is None or body.end >= size:
            self._end = size
        else:
            self._end = min(self._end, size)
        return body.info

    def of(self, version: str) -> Range:
        """Keep to this version."""
        self._version = version
        return self

    @property
    def end(self) -> int | None:
        """Return where it ends; ``None``: only the body knows."""
        return self._end

    @property
    def is_at_end(self) -> bool:
        """Tell whether all was read; never true where only the body knows."""
        return self._place == self._end

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes, 0 only at the end."""
        if self._end is not None:
            buffer = buffer[: self._end - self._place]
        while buffer:
            try:
                count = self._read(buffer[:_SLICE])
            except StoreUnavailable as error:
                self.close()
                self._tries += 1
                self._attempts.after(error, self._tries)
            else:
                if count:
                    self._moved(count)
                return count
        return 0

    def _moved(self, count: int) -> None:
        self._place += count
        self._tries = 0
        self._attempts.progressed()

    def _read(self, buffer: memoryview) -> int:
        body = self._body or self._opened()
        count = body.readinto(buffer)
        if not count and self._end is not None:
            raise StoreUnavailable(
                f"{self._source.location}: the answer ended {self._end - self._place} bytes early"
            )
        return count

    def _opened(self) -> Body:
        """Open the body at our place; its connection can be cut until ``close``."""
        length = None if self._end is None else self._end - self._place
        with ExitStack() as opening:
            body = self._attempts.held(
                opening,
                lambda: self._source.client.get(
                    self._source.location, start=self._place, length=length, version=self._version
                ),
            )
            opening.callback(body.close)
            self._open = opening.pop_all()
        self._body = body
        return body

    def close(self) -> None:
        """Give the connection back."""
        self._body = None
        self._open.close()
