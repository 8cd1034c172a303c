"""One AMQP channel: what is asked on it, what arrives on it, and how it ends.

Everything that concerns one message happens on one channel of its own: whatever the broker closes
a channel for concerns that message alone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import aiormq
import aiormq.abc
import anyio
from aiormq.exceptions import ChannelInvalidStateError, PublishError
from pamqp.commands import Basic

from runner.errors import QueueUnavailable
from runner.queues.rabbitmq.boundary import NoSuchQueue, translated

T = TypeVar("T")

_CLOSING = 5.0
#: Say that the connection has ended, some of them before the channel hears of it.
_ENDS = (ConnectionError, ChannelInvalidStateError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as the broker handed it out, not acknowledged yet."""

    tag: int
    body: bytes
    properties: Basic.Properties
    is_redelivered: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What a queue tells of itself."""

    messages: int
    consumers: int


class Retired(QueueUnavailable):
    """The connection is being replaced: whoever waits on it, waits on the next one."""


class Connection(Protocol):
    """What a channel needs of its connection; ``Wire`` is one."""

    @property
    def is_blocked(self) -> bool:
        """The broker reads nothing for want of memory or disk."""

    def condemn(self) -> None:
        """Give up on it: it does not answer."""

    def forget(self, channel: Channel) -> None:
        """Count a channel no more."""


class Channel:
    """A channel in confirm mode. Made by ``Wire.open``; used on its loop alone.

    Every call is bounded by ``timeout``; one that takes longer condemns the whole connection, as
    nothing else tells a broker that hangs from one that is slow. All raise QueueUnavailable.
    """

    def __init__(
        self,
        channel: aiormq.abc.AbstractChannel,
        connection: Connection,
        *,
        timeout: float,
    ) -> None:
        self._channel = channel
        self._connection = connection
        self._timeout = timeout
        self._arrived: deque[Arrived] = deque()
        self._news = anyio.Event()
        self._consumer = ""
        self._may_move = False
        #: Why nothing comes any more; raised to whoever waits.
        self._trouble: QueueUnavailable | None = None
        channel.on_consumer_cancel_callbacks.add(self._consumer_ended)
        channel.closing.add_done_callback(self._ended)

    @property
    def is_open(self) -> bool:
        """Tell whether the broker still knows of what is held here, as far as we know."""
        return self._trouble is None

    @property
    def is_blocked(self) -> bool:
        """Tell whether the broker reads nothing of us for now; it says so after a publishing."""
        return self._connection.is_blocked

    # ------------------------------------------------------------------ queues

    async def declare(self, queue: str, arguments: Mapping[str, Any]) -> None:
        """Make a durable queue of ours, or find it. Raises Forbidden."""
        await self._call(
            f"queue {queue} cannot be made",
            lambda: self._channel.queue_declare(queue, durable=True, arguments=dict(arguments)),
        )

    async def declare_for_client(self, queue: str, *, exchange: str, key: str) -> None:
        """Make exchange, queue and binding as a StudioML client does that keeps nothing."""
        what = f"queue {queue} cannot be made"
        await self._call(
            what,
            lambda: self._channel.exchange_declare(
                exchange, exchange_type="topic", durable=True, auto_delete=True
            ),
        )
        await self._call(what, lambda: self._channel.queue_declare(queue, durable=False))
        await self._call(what, lambda: self._channel.queue_bind(queue, exchange, key))

    async def standing(self, queue: str) -> Standing:
        """Look at a queue without declaring anything about it. Raises NoSuchQueue."""
        answer = await self._call(
            f"queue {queue} cannot be looked at",
            lambda: self._channel.queue_declare(queue, passive=True),
        )
        return Standing(answer.message_count or 0, answer.consumer_count or 0)

    async def delete(self, queue: str) -> None:
        """Delete a queue with what is in it, held or not; done when this returns."""
        await self._call(
            f"queue {queue} cannot be deleted", lambda: self._channel.queue_delete(queue)
        )

    async def purge(self, queue: str) -> int:
        """Remove the waiting messages."""
        answer = await self._call(
            f"queue {queue} cannot be purged", lambda: self._channel.queue_purge(queue)
        )
        return answer.message_count or 0

    # ------------------------------------------------------------------ messages

    async def publish(
        self, body: bytes, properties: Basic.Properties, *, queue: str, exchange: str = ""
    ) -> bool:
        """Publish and wait for the broker's confirmation; ``False``: no queue would take it."""
        try:
            await self._call(
                f"nothing can be published to {queue}",
                lambda: self._channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=queue,
                    properties=properties,
                    mandatory=True,
                ),
            )
        except QueueUnavailable as error:
            if isinstance(error.__cause__, PublishError):
                return False
            raise
        return True

    async def consume(self, queue: str, *, prefetch: int) -> None:
        """Have messages sent; 0: as many as there are. Raises NoSuchQueue, Forbidden."""
        what = f"queue {queue} cannot be read"
        await self._call(what, lambda: self._channel.basic_qos(prefetch_count=prefetch))
        # Known before the broker can say that it is over.
        self._consumer = consumer = secrets.token_hex(8)
        await self._call(
            what,
            lambda: self._channel.basic_consume(queue, self._take, consumer_tag=consumer),
        )

    async def refused_consume(self, queue: str) -> None:
        """Ask to have messages sent on terms that no broker accepts, so that none is.

        Raises Forbidden without the right to read, else NoSuchQueue or Impossible; it ends.
        """
        await self._call(
            f"queue {queue} cannot be read",
            lambda: self._channel.basic_consume(
                queue, self._take, arguments={"x-priority": "not a number"}
            ),
        )
        raise QueueUnavailable(f"the broker accepts a priority of {queue} that is no number")

    async def stop_consuming(self) -> None:
        """Have no more sent; what was sent stays."""
        consumer, self._consumer = self._consumer, ""
        await self._call(
            "the consumer cannot be ended",
            lambda: self._channel.basic_cancel(consumer, nowait=True),
        )

    async def message(self, *, may_move: bool = False) -> Arrived:
        """Wait for the next message, for ever. Raises QueueUnavailable when none can come.

        Who ``may_move`` is sent elsewhere when the connection is being replaced: Retired.
        """
        self._may_move = may_move
        while not self._arrived:
            if self._trouble is not None:
                raise self._trouble
            await self._news.wait()
        self._may_move = False
        return self._arrived.popleft()

    async def expected(self) -> Arrived:
        """Wait for a message that is there; one that does not come condemns the connection."""
        with anyio.move_on_after(self._timeout):
            return await self.message()
        self._connection.condemn()
        raise QueueUnavailable(f"a message did not come in {self._timeout:g} s")

    async def wait_for_end(self) -> None:
        """Return when the channel is closed, by whomever."""
        while self._trouble is None:
            await self._news.wait()

    @property
    def has_some(self) -> bool:
        """Tell whether ``message`` would return at once."""
        return bool(self._arrived)

    def at_once(self) -> list[Arrived]:
        """Return what has arrived besides."""
        found = list(self._arrived)
        self._arrived.clear()
        return found

    async def get(self, queue: str) -> Arrived | None:
        """Ask for one waiting message."""
        answer = await self._call(
            f"queue {queue} cannot be read", lambda: self._channel.basic_get(queue)
        )
        return None if isinstance(answer.delivery, Basic.GetEmpty) else _arrived(answer)

    async def ack(self, *tags: int) -> None:
        """Send acknowledgements; that they have arrived, only ``ping`` tells."""
        for tag in tags:
            await self._call("no acknowledgement", partial(self._channel.basic_ack, tag))

    async def requeue(self, tag: int) -> None:
        """Have the broker take a message back to its place, as one that nobody failed with.

        A quorum queue of RabbitMQ 4.3 counts it where the channel just ends, older ones always.
        """
        await self._call("no return", lambda: self._channel.basic_nack(tag, requeue=True))

    async def reject(self, *tags: int) -> None:
        """Have the broker send the messages where their queue sends dead letters."""
        for tag in tags:
            await self._call(
                "no rejection", partial(self._channel.basic_reject, tag, requeue=False)
            )

    async def ping(self) -> None:
        """Return when the broker has carried out all that was sent before."""
        await self._call("no answer", lambda: self._channel.basic_qos(prefetch_count=0))

    # ------------------------------------------------------------------ the end

    async def close(self) -> None:
        """End the channel: what it holds goes back to its queue, at its old place. Never raises."""
        self._fail(QueueUnavailable("the channel is closed"))
        with anyio.move_on_after(_CLOSING, shield=True):
            try:
                with translated("the channel cannot be closed"):
                    await self._channel.close()
            except QueueUnavailable:
                pass  # then the broker has closed it
        self._connection.forget(self)

    def condemn(self) -> None:
        """Say that the connection does not answer."""
        self._connection.condemn()

    def retire(self) -> None:
        """Have whoever waits for a message go elsewhere."""
        if self._may_move and not self._arrived:
            self._fail(Retired("the connection is being replaced"))

    # ------------------------------------------------------------------ inside

    async def _call(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        if self._trouble is not None:
            raise QueueUnavailable(f"{what}: {self._trouble}")
        try:
            with translated(what), anyio.move_on_after(self._timeout):
                return await ask()
        except QueueUnavailable as error:
            if isinstance(error.__cause__, _ENDS):
                self._fail(error)
            raise
        self._connection.condemn()
        raise QueueUnavailable(f"{what}: no answer in {self._timeout:g} s")

    async def _take(self, delivered: aiormq.abc.DeliveredMessage) -> None:
        self._arrived.append(_arrived(delivered))
        self._tell()

    def _consumer_ended(self, frame: Basic.Cancel) -> None:
        if frame.consumer_tag == self._consumer:
            self._fail(NoSuchQueue("the queue was deleted while we waited for a message"))

    def _ended(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        said = " ".join(str(word) for word in getattr(error, "args", ())) or "it has ended"
        self._fail(QueueUnavailable(f"the channel is closed: {said}"))
        self._connection.forget(self)

    def _fail(self, trouble: QueueUnavailable) -> None:
        self._trouble = self._trouble or trouble
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def _arrived(message: aiormq.abc.DeliveredMessage) -> Arrived:
    return Arrived(
        tag=message.delivery_tag or 0,
        body=message.body,
        properties=message.header.properties,
        is_redelivered=bool(message.redelivered),
    )
