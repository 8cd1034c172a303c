"""A queue as we take from it: what its answers show is noted, and it can be shut without a cut."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import anyio

from runner import log
from runner.errors import MessageGone, QueueGone, QueueUnavailable, RunnerError
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.sources.suspicion import Suspicion
from runner.model import Message
from runner.queues.base import Delivery, Queue

_log = log.get_logger(__name__)

_NOW = timedelta(0)


@contextmanager
def _noted(suspicion: Suspicion) -> Iterator[None]:
    try:
        yield
    except (QueueGone, MessageGone):
        suspicion.hint()
        raise
    except QueueUnavailable:
        suspicion.trouble()
        raise


class Drawn(Delivery):
    """A delivery whose trouble is noted with its queue."""

    def __init__(self, delivery: Delivery, suspicion: Suspicion) -> None:
        super().__init__(delivery.message, token=delivery.token, lease=delivery.lease)
        self.hold_limit = delivery.hold_limit
        self._delivery = delivery
        self._suspicion = suspicion

    @property
    def is_ageing(self) -> bool:
        """See ``Delivery``."""
        return self._delivery.is_ageing

    async def send_on(self, mark: str) -> str:
        """See ``Delivery``."""
        return await self._delivery.send_on(mark)

    async def leave(self) -> None:
        """See ``Delivery``."""
        await self._delivery.leave()
        self.token = self._delivery.token

    async def extend(self) -> None:
        """See ``Delivery``."""
        with _noted(self._suspicion):
            await self._delivery.extend()
        self.token = self._delivery.token

    async def ack(self) -> None:
        """See ``Delivery``."""
        await self._delivery.ack()

    async def release(self, delay: timedelta) -> None:
        """See ``Delivery``."""
        await self._delivery.release(delay)

    async def bury(self, reason: str) -> None:
        """See ``Delivery``."""
        await self._delivery.bury(reason)


class Tap(Queue):
    """Everything of the queue behind it, until it is ``shut``.

    Then an open receive ends by itself, and what it brings goes back at once; the next one would
    wait for ever: whoever pulls is ended by ``closed``, which is called as soon as none is open.
    """

    def __init__(self, queue: Queue, suspicion: Suspicion, keeper: Keeper) -> None:
        super().__init__(queue.name, broker=queue.broker, project=queue.project)
        self.patience, self.glance, self.tells = queue.patience, queue.glance, queue.tells
        self._queue = queue
        #: As it was when the queue was shown: some brokers know more of it later.
        self._address = queue.address
        self._suspicion = suspicion
        self._keeper = keeper
        self._open = 0
        self._closed: Callable[[], None] | None = None

    @property
    def address(self) -> str:
        """See ``Queue``."""
        return self._address

    def fresh(self) -> Tap:
        """Return one that is not shut, on the same queue."""
        fresh = Tap(self._queue, self._suspicion, self._keeper)
        fresh._address = self._address
        return fresh

    @property
    def is_shut(self) -> bool:
        """Nothing is taken any more."""
        return self._closed is not None

    def shut(self, closed: Callable[[], None]) -> None:
        """Take nothing more; ``closed`` is called once no receive is open, at once where none is.

        What is open goes on for as long as the broker's polls last.
        """
        if self._closed is None:
            self._closed = closed
            self._tell()

    async def ready(self) -> None:
        """See ``Queue``."""
        with _noted(self._suspicion):
            await self._queue.ready()

    async def receive(self) -> Delivery:
        """See ``Queue``."""
        delivery = await self._drawn(self._queue.receive)
        assert delivery is not None  # noqa: S101 - receive waits until there is one
        return delivery

    async def take(self) -> Delivery | None:
        """See ``Queue``."""
        return await self._drawn(self._queue.take)

    async def adopt(self, message: Message, token: str) -> Delivery:
        """See ``Queue``."""
        with _noted(self._suspicion):
            return Drawn(await self._queue.adopt(message, token), self._suspicion)

    async def depth(self) -> int | None:
        """See ``Queue``."""
        return await self._queue.depth()

    async def _drawn(self, receive: Callable[[], Awaitable[Delivery | None]]) -> Delivery | None:
        if self.is_shut:
            await anyio.sleep_forever()
        self._open += 1
        try:
            with _noted(self._suspicion):
                delivery = await receive()
            if delivery is not None and self.is_shut:
                await self._give_back(delivery)
                delivery = None
        finally:
            self._open -= 1
            self._tell()
        if self.is_shut:
            await anyio.sleep_forever()
        return None if delivery is None else Drawn(delivery, self._suspicion)

    def _tell(self) -> None:
        if self._closed is not None and not self._open:
            self._closed()

    async def _give_back(self, delivery: Delivery) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._keeper.run(delivery.release, delay=_NOW)
        except RunnerError as error:  # it comes back by itself
            _log.info("not given back", queue=self.name, trouble=str(error))
