"""The threads that send the parts of one upload."""

from __future__ import annotations

import mmap
import threading
from collections import deque
from dataclasses import dataclass

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import Conflict, NotFound, overtaken
from runner.stores.remote.client import Client
from runner.stores.remote.memory import Share
from runner.stores.remote.retrying import Attempts

#: Parts sent side by side.
_WORKERS = 6


@dataclass(frozen=True, slots=True)
class Part:
    """One full buffer; only the last may be shorter."""

    number: int
    start: int
    length: int
    buffer: mmap.mmap
    last: bool


class Sending:
    """Parts on their way; their buffers go back to the memory when they have arrived."""

    def __init__(
        self, client: Client, location: Location, attempts: Attempts, share: Share
    ) -> None:
        self._client = client
        self._location = location
        self._attempts = attempts
        self._share = share
        self._most = _WORKERS if client.parts_in_any_order else 1
        self._threads: list[threading.Thread] = []
        # The following is guarded by it.
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Part]] = deque()
        self._idle = 0
        self._tags: dict[int, str] = {}
        self._sent = 0
        self._error: BaseException | None = None

    def send(self, upload: str, part: Part) -> None:
        """Have a part sent. Raises what an earlier one failed with."""
        self.check()
        with self._changed:
            self._sent += 1
            self._waiting.append((upload, part))
            is_short = self._idle < len(self._waiting) and len(self._threads) < self._most
            self._changed.notify()
        if is_short:
            thread = threading.Thread(target=self._work, name="upload", daemon=True)
            self._threads.append(thread)
            thread.start()

    def finished(self) -> list[str]:
        """Wait until all have arrived; return their tags in order."""
        with self._attempts.stop.calling(self._wake), self._changed:
            while len(self._tags) < self._sent:
                self._check()
                self._changed.wait()
            return [self._tags[number] for number in sorted(self._tags)]

    def check(self) -> None:
        """Raise what a part failed with, or Interrupted after a stop."""
        with self._changed:
            self._check()

    def join(self) -> None:
        """Wait for the threads, which the stop has ended."""
        self._wake()
        for thread in self._threads:
            thread.join()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        self._attempts.stop.check()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            with self._attempts.stop.calling(self._wake):
                while True:
                    self._put(*self._next())
        except BaseException as error:  # noqa: BLE001 - raised in the producer's thread
            with self._changed:
                self._error = self._error or error
            self._attempts.stop.set()  # also for the others, and for who waits for memory

    def _next(self) -> tuple[str, Part]:
        with self._changed:
            self._idle += 1
            while not self._waiting:
                self._attempts.stop.check()
                self._changed.wait()
            self._idle -= 1
            return self._waiting.popleft()

    def _put(self, upload: str, part: Part) -> None:
        body = memoryview(part.buffer)[: part.length]
        try:
            tag = self._attempts.run(
                lambda: self._client.put_part(
                    self._location, upload, part.number, body, start=part.start, last=part.last
                )
            )
        except NotFound as error:  # aborted by somebody's housekeeping; the bucket was there
            raise StoreUnavailable(
                f"{self._location}: the store has forgotten the upload that was under way"
            ) from error
        except Conflict as error:
            raise overtaken(self._location) from error
        self._share.give(part.buffer)
        with self._changed:
            self._tags[part.number] = tag
            self._changed.notify_all()
