"""A large object's bytes in their order, fetched in parts side by side and verified on the way.

Parts get their memory in the order of the object, so the part that the consumer waits for always
has some. Whoever completes a part verifies what follows on from what is verified already: the
threads that wait for the network have the time.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from runner.stores.base import ObjectInfo
from runner.stores.remote.checksum import Verifier
from runner.stores.remote.memory import Share
from runner.stores.remote.parts import RANGE
from runner.stores.remote.ranges import Range, Source

#: Threads for one object; its first part is fetched by the consumer's own.
_WORKERS = 6


@dataclass(frozen=True, slots=True)
class _Part:
    index: int
    start: int
    length: int
    buffer: mmap.mmap

    @property
    def view(self) -> memoryview:
        return memoryview(self.buffer)[: self.length]


class Parallel(AbstractContextManager["Parallel"]):
    """One object of which ``first`` is open; ``fill`` is called in the thread that opened it."""

    def __init__(
        self,
        source: Source,
        info: ObjectInfo,
        share: Share,
        verifier: Verifier,
        first: Range,
    ) -> None:
        self._source = source
        self._stop = source.attempts.stop
        self._info = info
        self._share = share
        self._verifier = verifier
        self._first: Range | None = first
        self._count = -(-info.size // RANGE)
        self._indexes: Iterator[int] = iter(range(self._count))
        self._turn = threading.Lock()
        # The following is guarded by it.
        self._changed = threading.Condition()
        self._fetched: dict[int, _Part] = {}
        self._verified: deque[_Part] = deque()
        self._verified_count = 0
        self._is_verifying = False
        self._error: BaseException | None = None
        # These are the consumer's own.
        self._given = 0
        self._current: tuple[_Part, memoryview] | None = None
        self._threads: list[threading.Thread] = []

    def fill(self, view: memoryview) -> int:
        """Copy the next bytes, 0 at the end."""
        if self._first is not None:
            self._begin(self._first)
            self._first = None
        current = self._current or self._next()
        if current is None:
            return 0
        part, rest = current
        count = min(len(view), len(rest))
        view[:count] = rest[:count]
        self._current = (part, rest[count:])
        if count == len(rest):
            self._current = None
            self._share.give(part.buffer)
        return count

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def _begin(self, first: Range) -> None:
        part = self._claim()
        for number in range(min(_WORKERS, self._count - 1)):
            thread = threading.Thread(target=self._work, name=f"download-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        if part is not None:
            self._fetch(part, first)

    def _next(self) -> tuple[_Part, memoryview] | None:
        with self._stop.calling(self._wake), self._changed:
            if self._given == self._count:
                return None
            while not self._verified and self._error is None:
                self._stop.check()
                self._changed.wait()
            if self._error is not None:
                raise self._error
            part = self._verified.popleft()
        self._given += 1
        return part, part.view

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (part := self._claim()) is not None:
                bytes_ = Range(self._source, start=part.start, length=part.length)
                self._fetch(part, bytes_.of(self._info.version))
        except BaseException as error:  # noqa: BLE001 - raised in the consumer's thread
            self._fail(error)

    def _claim(self) -> _Part | None:
        """Take the next part, with memory; ``None`` when no more are wanted."""
        with self._turn:
            index = None if self._error else next(self._indexes, None)
            if index is None:
                return None
            start = index * RANGE
            length = min(RANGE, self._info.size - start)
            return _Part(index, start, length, self._share.take(RANGE))

    def _fetch(self, part: _Part, bytes_: Range) -> None:
        try:
            rest = part.view
            while rest:
                rest = rest[bytes_.readinto(rest) :]
        finally:
            bytes_.close()
        with self._changed:
            self._fetched[part.index] = part
        self._verify()

    def _verify(self) -> None:
        """Verify what follows on, unless another thread is at it."""
        while (part := self._unverified()) is not None:
            try:
                self._verifier.update(part.view)
                if part.index == self._count - 1:
                    self._verifier.finish()
            except Exception as error:  # noqa: BLE001 - raised in the consumer's thread
                self._fail(error)
            with self._changed:
                self._is_verifying = False
                self._verified_count += 1
                self._verified.append(part)
                self._changed.notify_all()

    def _unverified(self) -> _Part | None:
        with self._changed:
            if self._is_verifying or self._error is not None:
                return None
            part = self._fetched.pop(self._verified_count, None)
            self._is_verifying = part is not None
            return part

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
