"""Holding by parking: the message lies in a queue of its own that sends it back when we are gone.

At every moment the message is in at least one queue of the broker; what a crash between two steps
can leave is a second copy, and never none.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from datetime import timedelta

import anyio

from runner.errors import LeaseLost, MessageGone, QueueUnavailable
from runner.model import Message
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.boundary import NoSuchQueue
from runner.queues.rabbitmq.catching import Caught
from runner.queues.rabbitmq.channel import Arrived, Channel
from runner.queues.rabbitmq.holding import Hold
from runner.queues.rabbitmq.line import Line

_NOW = timedelta(0)
#: Seconds in which what lies in a queue has reached its only consumer.
_ON_ITS_WAY = 0.05


class ParkedHold(Hold):
    """Made by ``park`` or ``adopt``."""

    def __init__(
        self, line: Line, source: str, message: Message, lease: timedelta, *, place: str
    ) -> None:
        super().__init__(line, source, message, lease)
        self.place = self.token = place
        self._channel: Channel | None = None
        #: What we have of the parking queue, oldest first: one, but for a crash or a cancellation.
        self._copies: list[Arrived] = []
        #: Of the last copy; begins anywhere, for a predecessor's may still be on their way.
        self._number = secrets.randbits(40)
        #: Steps that a settling has begun, and that another one need not do again.
        self._is_sent_back = self._is_deleting = False
        #: The original is acknowledged, or about to be.
        self.is_parked = False

    async def park(self, caught: Caught) -> None:
        """Exchange the original for a copy in our queue. Raises Forbidden, QueueUnavailable."""
        channel = self._channel = caught.channel
        after = timedelta(seconds=self.lease)
        await channel.declare(self.place, parking.returning_to(self.source, after))
        await channel.consume(self.place, prefetch=0)  # before: it may be forbidden
        began = time.monotonic()
        await self._publish_copy(caught.original)
        await self._copy_arrives(channel)
        self.deadline = began + self.lease
        self.is_parked = True
        with anyio.CancelScope(shield=True):  # once it is parked, this must be certain
            await channel.ack(caught.original.tag)
            # No broker confirms an ack, and one that is lost gives the message to somebody else as
            # well: only what was answered behind it says that it has come.
            with anyio.move_on_after(self.lease / 4), suppress(QueueUnavailable):
                await channel.ping()

    async def unpark(self, caught: Caught) -> None:
        """Undo ``park``, however far it came. Never raises."""
        if self.is_parked:
            await self.put_back()
            return
        with anyio.CancelScope(shield=True):
            with suppress(QueueUnavailable):  # then a second copy comes back in a lease
                await caught.channel.delete(self.place)
            await caught.channel.close()

    async def adopt(self) -> None:
        """Take over what a predecessor has parked. Raises LeaseLost, QueueUnavailable."""
        self.deadline = time.monotonic() + self.lease
        try:
            await self._in_hand(is_ours=False)
            await self._renew()
        except BaseException:
            if self._channel is not None:
                await self._channel.close()
            raise

    # ------------------------------------------------------------------ the two ways' difference

    async def _in_hand(self, *, is_ours: bool = True) -> Arrived:
        if not self._is_reached() or not self._copies:
            await self._take_again(is_ours=is_ours)
        return self._copies[-1]

    def _is_reached(self) -> bool:
        return self._channel is not None and self._channel.is_open

    async def _renew(self) -> None:
        copy = await self._in_hand()
        channel = self._open()
        began = time.monotonic()
        if channel.is_blocked:  # it takes no copies; but what it sent us, it leaves with us
            self.deadline = began + self.lease
            return
        await self._publish_copy(copy)
        await self._copy_arrives(channel)
        while len(self._copies) > 1:
            await channel.ack(self._copies.pop(0).tag)
        self.deadline = began + self.lease

    async def _suspect(self) -> None:
        if self._channel is not None:
            self._channel.condemn()

    async def _forget(self) -> None:
        """One step, and the broker confirms it: a message goes with its queue."""
        try:
            await self._in_hand()
        except MessageGone:
            if self._is_deleting:  # the confirmation had been lost
                return
            raise
        self._is_deleting = True
        await self._open().delete(self.place)
        await self._open().close()

    async def _return(self, delay: timedelta) -> None:
        await self._send_back(self.message.receive_count, delay)

    async def _return_uncounted(self) -> None:
        await self._send_back(self.message.receive_count - 1, _NOW)

    async def _let_go(self) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            return  # it lies in its queue, and leaves it about now
        await channel.ack(*(copy.tag for copy in self._copies[:-1]))
        await channel.reject(*(copy.tag for copy in self._copies[-1:]))
        await channel.ping()
        await channel.close()

    # ------------------------------------------------------------------ steps

    async def _send_back(self, receives: int, delay: timedelta) -> None:
        copy = await self._in_hand()
        channel, queue = self._open(), self.source
        if delay > _NOW:
            queue = parking.waiting_room(self.source, delay)
            await channel.declare(queue, parking.returning_to(self.source, delay))
        properties = parking.copy_of(copy.properties, self.message.id, receives)
        has_place = self._is_sent_back or await channel.publish(copy.body, properties, queue=queue)
        if not has_place and await self._has_source():
            raise QueueUnavailable(f"queue {self.source} takes nothing back at the moment")
        self._is_sent_back = has_place
        await self._forget()
        if not has_place:
            self._is_over = True
            raise MessageGone(
                f"queue {self.source} was deleted: message {self.message.id} has no place to "
                "return to"
            )

    async def _publish_copy(self, copy: Arrived) -> None:
        self._number += 1
        properties = parking.copy_of(
            copy.properties, self.message.id, self.message.receive_count, number=self._number
        )
        await self._open().publish(copy.body, properties, queue=self.place)

    async def _copy_arrives(self, channel: Channel) -> None:
        """Take what was just published, and what earlier attempts may have left."""
        while True:
            copy = await channel.expected()
            self._copies.append(copy)
            if parking.number_of(copy.properties) == self._number:
                return

    async def _take_again(self, *, is_ours: bool) -> None:
        """After a lost connection: listen to the parking queue anew. Raises LeaseLost."""
        self._copies = []
        if self._channel is not None:
            await self._channel.close()
        channel = self._channel = await self.line.channel()
        try:
            await channel.consume(self.place, prefetch=0)
            if await self._reaches_us(channel):
                return
        except NoSuchQueue:
            pass
        await channel.close()
        raise await self._loss(is_ours=is_ours)

    async def _reaches_us(self, channel: Channel) -> bool:
        """Tell whether there is a copy, and take it.

        A broker that has not noticed yet that the old connection is gone gives it only then.
        """
        while True:
            with anyio.move_on_after(_ON_ITS_WAY):
                self._copies.append(await channel.message())
            if self._copies:
                self._copies += channel.at_once()
                return True
            standing = await channel.standing(self.place)
            if channel.has_some:
                continue
            if (standing.consumers <= 1 and not standing.messages) or self._is_late():
                return False
            await anyio.sleep(_ON_ITS_WAY)

    def _is_late(self) -> bool:
        return time.monotonic() >= self.deadline

    async def _loss(self, *, is_ours: bool) -> LeaseLost:
        """Find out what became of it.

        Before its time it cannot have returned to the source: then it was purged, or the broker
        has lost it, and with a source that is gone it had no place to return to.
        """
        gone = (is_ours and not self._is_late()) or not await self._has_source()
        self._is_over = True
        if gone:
            return MessageGone(
                f"message {self.message.id} of queue {self.source} exists no more: its queue was "
                "deleted, or the broker was restarted and keeps no such messages"
            )
        return LeaseLost(
            f"message {self.message.id} has returned to queue {self.source}: others may have it"
        )

    async def _has_source(self) -> bool:
        """Ask whether there is a queue to return to. Raises QueueUnavailable: its node is down."""
        async with self.line.lent() as channel:
            try:
                await channel.standing(self.source)
            except NoSuchQueue:
                return False
        return True

    def _open(self) -> Channel:
        if self._channel is None:
            raise QueueUnavailable("the message is not held")
        return self._channel
