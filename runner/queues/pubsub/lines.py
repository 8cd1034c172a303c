"""Connections to Pub/Sub, for each event loop its own: some to pull on, one for all else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import grpc.aio
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from runner.queues.pubsub.identity import Identity

#: Calls that are open on one connection; Google's front end allows 100 streams.
STREAMS = 80

#: Seconds in which grpc's thread tells an event loop of calls that were cut off. Nobody can wait
#: for that, and when the loop is closed by then, another one stumbles over the news.
_FAREWELL = 0.05

_engine = threading.Lock()
_engine_is_on = False


def keep_engine() -> None:
    """Keep grpc's own thread for the life of the process; called on an event loop.

    It would end with the last channel, which may be dropped in another thread than the one whose
    event loop it has to leave.
    """
    global _engine_is_on  # noqa: PLW0603 - so is the thread
    with _engine:
        if not _engine_is_on:
            grpc.aio.init_grpc_aio()
            _engine_is_on = True


class Line:
    """A channel with a connection of its own, and its generated stubs."""

    def __init__(self, channel: grpc.aio.Channel, identity: Identity) -> None:
        self.identity = identity
        # Their annotations say less than what they return: a call that can be cancelled.
        self.subscriber: Any = SubscriberGrpcAsyncIOTransport(channel=channel)
        self._publisher: Any = None
        self._channel = channel
        #: Calls that are under way.
        self.open = 0
        #: It gets no new calls and is closed with the last one.
        self.is_retired = False

    @property
    def publisher(self) -> Any:
        """The stubs of the other service; few need them."""
        if self._publisher is None:
            self._publisher = PublisherGrpcAsyncIOTransport(channel=self._channel)
        return self._publisher

    async def retire(self) -> None:
        """Close it as soon as nobody uses it."""
        self.is_retired = True
        if not self.open:
            with anyio.CancelScope(shield=True):
                await self._channel.close()


@dataclass
class _Here:
    """The lines of one event loop."""

    control: list[Line] = field(default_factory=list)
    pulling: list[Line] = field(default_factory=list)


class Lines:
    """All connections of one credential. Lines of a former identity end with their last call."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._here: dict[asyncio.AbstractEventLoop, _Here] = {}
        self._lock = threading.Lock()

    @property
    def who(self) -> str:
        """The credential, for people."""
        return self._identity.who

    def renew(self, identity: Identity) -> None:
        """Use another identity from the next call on."""
        self._identity = identity

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Line]:
        """Lend a line of this loop for everything but pulls. Raises QueueDenied.

        A call that is not answered in time casts doubt on the connection: the next one gets
        another.
        """
        async with self._lent(self._of_this_loop().control) as line:
            try:
                yield line
            except anyio.get_cancelled_exc_class():
                line.is_retired = True
                raise
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    line.is_retired = True
                raise

    @asynccontextmanager
    async def pulling(self) -> AsyncIterator[Line]:
        """Lend a line of this loop for a pull: to end without an answer is its nature."""
        async with self._lent(self._of_this_loop().pulling) as line:
            yield line

    @asynccontextmanager
    async def _lent(self, pool: list[Line]) -> AsyncIterator[Line]:
        await self._weed(pool)
        line = self._with_room(pool)
        if line is None:
            fresh = await self._opened()
            # Others may have waited for the same.
            line = self._with_room(pool)
            if line is None:
                line = fresh
                pool.append(fresh)
            else:
                await fresh.retire()
        line.open += 1
        try:
            yield line
        finally:
            line.open -= 1
            if not self._is_good(line):
                await line.retire()

    async def _weed(self, pool: list[Line]) -> None:
        """Leave out what gets no new calls, and close it where that was not done."""
        bad = [line for line in pool if not self._is_good(line)]
        for line in bad:
            pool.remove(line)
        for line in bad:
            await line.retire()

    async def close(self) -> None:
        """Close this loop's lines, and drop those of loops that have ended.

        Another loop's stay until the last delivery that is held there is dropped: whoever holds one
        goes on, also here, on a line that is then opened anew.
        """
        with self._lock:
            here = self._here.pop(asyncio.get_running_loop(), None)
            self._drop_ended()
        if here is None:
            return
        for line in (*here.control, *here.pulling):
            await line.retire()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(_FAREWELL)

    def _of_this_loop(self) -> _Here:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._here:
                self._drop_ended()
                self._here[loop] = _Here()
            return self._here[loop]

    def _drop_ended(self) -> None:
        self._here = {loop: here for loop, here in self._here.items() if not loop.is_closed()}

    def _with_room(self, pool: list[Line]) -> Line | None:
        good = (line for line in pool if self._is_good(line) and line.open < STREAMS)
        return next(good, None)

    def _is_good(self, line: Line) -> bool:
        return line.identity is self._identity and not line.is_retired

    async def _opened(self) -> Line:
        keep_engine()
        identity = self._identity
        return Line(await identity.channel(), identity)
