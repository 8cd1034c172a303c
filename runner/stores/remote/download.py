"""The stream of an object's bytes: small ones by one request, large ones by parallel ranges."""

from __future__ import annotations

import io
from contextlib import ExitStack

from runner.blocking import Stop
from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import Conflict
from runner.stores.remote.checksum import Verifier, expected
from runner.stores.remote.client import Client
from runner.stores.remote.memory import MEMORY, Memory
from runner.stores.remote.parallel import Parallel
from runner.stores.remote.parts import RANGE
from runner.stores.remote.ranges import Range, Source
from runner.stores.remote.retrying import Attempts, Plan


class Download(io.RawIOBase):
    """An open object, its last bytes given only when the whole is right.

    Reads raise Damaged, StoreUnavailable, Interrupted. An object that is replaced while it is read
    is begun anew if nothing of it was given away yet. Used, and closed, in one thread.
    """

    def __init__(
        self,
        client: Client,
        location: Location,
        stop: Stop,
        plan: Plan | None = None,
        memory: Memory = MEMORY,
        *,
        only: str | None = None,
    ) -> None:
        """Open it, ``only`` in this version; raises NotFound, AccessDenied and Conflict, too."""
        super().__init__()
        self._client = client
        self._location = location
        self._stop = stop
        self._plan = plan or Plan()
        self._memory = memory
        self._only = only
        self._open = ExitStack()
        self._has_given = self._has_begun_anew = False
        self._bytes = self._opened()

    def readable(self) -> bool:
        """Tell that this is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Fill in what there is by now."""
        view = memoryview(buffer).cast("B")
        try:
            count = self._bytes.fill(view)
        except Conflict as conflict:
            self._begin_anew(conflict)
            return self.readinto(buffer)
        self._has_given = self._has_given or count > 0
        return count

    def close(self) -> None:
        """End what is on its way; what it needs is given back."""
        self._open.close()
        super().close()

    def _begin_anew(self, conflict: Conflict) -> None:
        if self._only is not None:
            raise conflict
        if self._has_given or self._has_begun_anew:
            raise StoreUnavailable(
                f"{self._location} was changed while it was read; it is read again later"
            ) from conflict
        self._has_begun_anew = True
        self._open.close()
        self._bytes = self._opened()

    def _opened(self) -> _Whole | Parallel:
        stop = Stop()
        attempts = Attempts(stop, self._plan)
        with ExitStack() as opening:
            opening.enter_context(self._stop.calling(stop.set))
            source = Source(self._client, self._location, attempts)
            first = Range(source, start=0, length=RANGE)
            opening.callback(first.close)
            info = first.discover()
            if self._only not in {None, info.version}:
                raise Conflict(f"{self._location} was replaced since it was looked at")
            wanted = expected(
                self._location,
                info,
                lambda: attempts.run(lambda: self._client.first_part(self._location, info.version)),
            )
            verifier = Verifier(self._location, wanted)
            opened: _Whole | Parallel = _Whole(first, verifier)
            if first.end is not None and first.end < info.size:
                share = opening.enter_context(self._memory.share(stop))
                opened = opening.enter_context(Parallel(source, info, share, verifier, first))
            self._open = opening.pop_all()
        return opened


class _Whole:
    """All of the bytes come by one answer, straight into the consumer's memory."""

    def __init__(self, bytes_: Range, verifier: Verifier) -> None:
        self._range = bytes_
        self._verifier = verifier
        self._is_over = False

    def fill(self, view: memoryview) -> int:
        if self._is_over or not view:
            return 0
        count = self._range.readinto(view)
        self._verifier.update(view[:count])
        if not count or self._range.is_at_end:
            self._is_over = True
            self._verifier.finish()
        return count
