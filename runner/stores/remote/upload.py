"""The stream that a producer writes an object to: one request, or parts sent side by side."""

from __future__ import annotations

import hashlib
import io
import mmap
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

from runner.blocking import Interrupted, Stop
from runner.errors import RunnerError, StoreUnavailable
from runner.model import Location
from runner.stores.base import (
    AccessDenied,
    Checksum,
    Conflict,
    NotFound,
    ObjectInfo,
    overtaken,
    unasked,
)
from runner.stores.remote.checksum import is_of
from runner.stores.remote.client import Client, NotDone
from runner.stores.remote.memory import MEMORY, Memory
from runner.stores.remote.parts import part_size
from runner.stores.remote.retrying import Attempts, Plan
from runner.stores.remote.sending import Part, Sending

T = TypeVar("T")

#: Seconds for forgetting the parts of an upload that failed, and of one that was stopped.
_FAILED, _STOPPED = 10.0, 0.6
_ABORTING = Plan(first=0.05, longest=0.5, patience=_FAILED)
#: A stop lets an upload begin: cut in between, it would be left open with an unknown id.
_GRACE = 0.5


class Upload(io.RawIOBase):
    """An object that exists from ``commit`` on; closed before that it never will.

    Where it must be ``permitted``, it takes the place of what was there when it began, and of
    nothing else: of two who may publish one after the other, the former cannot do so any more once
    the latter has, however long it was suspended behind the answer
    (docs/decisions/036-late-results.md).

    Writes raise StoreUnavailable, AccessDenied, NotFound, Interrupted. Used in one thread.
    """

    def __init__(
        self,
        client: Client,
        location: Location,
        stop: Stop,
        plan: Plan | None = None,
        memory: Memory = MEMORY,
        *,
        left_behind: Callable[[Location, str], object] = lambda *_: None,
        permitted: Callable[[], None] = unasked,
    ) -> None:
        """Send nothing yet. ``left_behind`` is told the id of what could not be aborted.

        ``permitted`` is asked before each try to make the object appear.
        """
        super().__init__()
        self._client = client
        self._location = location
        self._outer = stop
        self._stop = Stop()
        self._attempts = Attempts(self._stop, plan or Plan())
        self._left_behind = left_behind
        self._permitted = permitted
        #: What the object must still be when ours appears; neither: anything.
        self._only_if: str | None = None
        self._absent = False
        self._size = self._filled = 0
        self._number = 1
        self._upload: str | None = None
        self._is_committed = False
        with ExitStack() as opening:
            opening.enter_context(stop.calling(self._stop.set))
            self._share = opening.enter_context(memory.share(self._stop))
            self._sending = Sending(client, location, self._attempts, self._share)
            self._open = opening.pop_all()
        self._buffer = self._take()

    def writable(self) -> bool:
        """Tell that this is for writing."""
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Take all of ``data``; waits while there is no memory for more parts."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest:
            if self._filled == len(self._buffer):
                self._send(last=False)
                self._buffer = self._take()
            count = min(len(rest), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + count] = rest[:count]
            self._filled += count
            rest = rest[count:]
        return length

    def commit(self) -> ObjectInfo:
        """Make the object of all that was written."""
        if self._upload is None:
            info = self._put(memoryview(self._buffer)[: self._filled])
        else:
            if self._client.last_part_publishes:
                self._sending.finished()  # the others
                self._permitted()
            self._send(last=True)
            tags = self._sending.finished()
            info = self._completed(self._upload, tags)
        self._is_committed = True
        return info

    def close(self) -> None:
        """Give everything back; without a ``commit`` nothing of the object is left."""
        if not self.closed:
            self._stop.set()
            self._sending.join()
            self._open.close()
            if self._upload is not None and not self._is_committed:
                self._abort(self._upload)
        super().close()

    def _take(self) -> mmap.mmap:
        try:
            return self._share.take(part_size(self._number))
        except Interrupted:
            self._sending.check()
            raise

    def _send(self, *, last: bool) -> None:
        if self._upload is None:
            self._upload = self._begun()
        if self._number > self._client.most_parts:
            raise StoreUnavailable(
                f"{self._location} has more than {self._client.most_parts} parts: it is too large"
            )
        part = Part(self._number, self._size, self._filled, self._buffer, last=last)
        self._sending.send(self._upload, part)
        self._size += self._filled
        self._filled = 0
        self._number += 1

    def _put(self, body: memoryview) -> ObjectInfo:
        def put() -> ObjectInfo:
            self._permitted()
            return self._client.put(
                self._location, body, only_if=self._only_if, absent=self._absent
            )

        self._look()
        self._size = len(body)
        try:
            return self._on_condition(put)
        except Conflict as error:
            return self._stored_before(lambda found: is_of(found, body), error)

    def _look(self) -> None:
        """Note what the object is now, unless that does not matter, or is known."""
        if self._permitted is unasked or self._only_if is not None:
            return
        try:
            found = self._attempts.run(lambda: self._client.head(self._location))
        except NotFound:
            self._absent = True
        except AccessDenied:  # a key that may write and not read: to have asked must do
            pass
        else:
            self._only_if = found.version

    def _on_condition(self, make: Callable[[], T]) -> T:
        """Make something under the condition; without it where the store minds none."""
        try:
            return self._attempts.run(make)
        except NotDone:
            if self._only_if is None and not self._absent:
                raise
            self._only_if, self._absent = None, False
            return self._attempts.run(make)

    def _begun(self) -> str:
        """Begin; what a daemon that was killed has left of this object is forgotten before."""
        with suppress(RunnerError):  # it costs nobody's results, and may not be allowed
            for upload in self._attempts.once(lambda: self._client.unfinished(self._location)):
                self._attempts.once(partial(self._client.abort, self._location, upload))
        self._look()
        try:
            return self._attempts.run(
                lambda: self._client.begin(
                    self._location, only_if=self._only_if, absent=self._absent
                ),
                grace=_GRACE,
            )
        except Conflict as error:
            raise overtaken(self._location) from error

    def _completed(self, upload: str, tags: list[str]) -> ObjectInfo:
        def complete() -> ObjectInfo:
            if not self._client.last_part_publishes:
                self._permitted()
            return self._client.complete(
                self._location,
                upload,
                tags,
                size=self._size,
                only_if=self._only_if,
                absent=self._absent,
            )

        try:
            return self._on_condition(complete)
        except (Conflict, NotFound) as error:
            return self._stored_before(lambda found: found.digest == _digest_of(tags), error)

    def _stored_before(
        self, is_ours: Callable[[Checksum], bool], error: Conflict | NotFound
    ) -> ObjectInfo:
        """Describe the object if an earlier try has made it, whose answer was lost."""
        try:
            info = self._attempts.run(lambda: self._client.head(self._location))
        except (NotFound, AccessDenied):
            info = None
        if info and info.size == self._size and info.checksum and is_ours(info.checksum):
            return info
        if isinstance(error, Conflict):
            raise overtaken(self._location) from error
        raise StoreUnavailable(
            f"{self._location}: the store has forgotten the parts sent"
        ) from error

    def _abort(self, upload: str) -> None:
        stop = Stop()
        was_stopped = self._outer.is_set
        timer = threading.Timer(_STOPPED if was_stopped else _FAILED, stop.set)
        timer.start()

        def abort() -> None:
            if not self._client.abort(self._location, upload):
                raise StoreUnavailable(f"{self._location}: a part may have survived the abort")

        try:
            Attempts(stop, _ABORTING).run(abort)
        except (RunnerError, Interrupted):
            self._left_behind(self._location, upload)
        finally:
            timer.cancel()
            timer.join()


def _digest_of(tags: list[str]) -> str:
    """Return the checksum of an object of these parts, where a tag is the MD5 of its part."""
    try:
        parts = b"".join(bytes.fromhex(tag.strip('"')) for tag in tags)
    except ValueError:
        return "unknown"
    return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{len(tags)}"
