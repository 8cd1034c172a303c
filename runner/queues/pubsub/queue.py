"""A subscription as a queue: its messages are pulled one by one, and it can be looked into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import anyio
import anyio.abc
from google.pubsub_v1 import types

from runner.errors import LeaseLost, MessageGone, QueueGone, QueueUnavailable
from runner.model import Message
from runner.queues.base import Delivery, Inspectable, Queue, Rights
from runner.queues.drawer import DeadLetter
from runner.queues.pubsub.delivery import PubsubDelivery
from runner.queues.pubsub.polls import Polls
from runner.queues.pubsub.pull import pull
from runner.queues.pubsub.rights import rights
from runner.queues.pubsub.service import Service
from runner.queues.pubsub.subscription import Subscription
from runner.queues.pubsub.term import Term, now
from runner.request.trace import TRACEPARENT

#: No subscription has a shorter ack deadline, so a message is ours for so long once it came.
_FIRST_TERM = 10.0
#: A look waits so many seconds for the next messages; purging takes so many at once.
_LOOK_SECONDS, _PURGED_AT_ONCE = 3.0, 1000


class PubsubQueue(Queue, Inspectable):
    """Made by the broker, whose task group holds its open pulls."""

    peek_costs = (
        "looking takes the messages and gives them back: they are hidden for a few seconds, and "
        "where the subscription has a dead letter policy, it counts as a delivery"
    )

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        service: Service,
        group: anyio.abc.TaskGroup,
        lease: timedelta,
    ) -> None:
        super().__init__(name, broker="pubsub", project=service.project)
        self._subscription = subscription
        self._lease = lease
        self._service = service
        self._polls = Polls(group, self._pulled, lease)

    @property
    def address(self) -> str:
        """Say which queue of the world it is."""
        return self._subscription.address

    async def receive(self) -> Delivery:
        """Wait for a message and hold it. Raises QueueUnavailable, QueueGone.

        ``receive_count`` is the service's count where the subscription has a dead letter policy;
        without one nobody counts, and it is 1.
        """
        await self._subscription.learn()
        return await self._polls.next()

    async def adopt(self, message: Message, token: str) -> Delivery:
        """Extend what a predecessor held, if its last confirmed lease has not passed.

        An exactly-once subscription is asked however late it is: it knows.
        """
        try:
            term = Term.read(token)
        except ValueError as error:
            raise LeaseLost(str(error)) from error
        try:
            await self._subscription.learn()
        except QueueUnavailable as error:
            if term.is_over():
                raise LeaseLost(f"nobody says that {message.id} is still ours: {error}") from error
        delivery = PubsubDelivery(message, self._subscription, term, self._lease)
        await delivery.extend()
        return delivery

    async def rights(self) -> Rights | None:
        """Ask the service what it would allow; an emulator does not tell."""
        return await rights(self._service, self._subscription)

    async def peek(self, limit: int) -> Sequence[Message]:
        """Pull, and give back."""
        found: list[types.ReceivedMessage] = []
        try:
            while len(found) < limit:
                more = await self._subscription.pull_now(limit - len(found), _LOOK_SECONDS)
                if not more:
                    break
                found.extend(more)
        finally:
            await self._subscription.give_back(found)
        found.sort(key=lambda received: received.message.publish_time)
        return [self._message(received) for received in found]

    async def dead(self) -> Sequence[DeadLetter]:
        """Read the dead letters of this machine's disk.

        What went to a dead letter topic of the owner's is in subscriptions that we know nothing of.
        """
        return await self._subscription.dead()

    async def requeue(self, message_id: str) -> bool:
        """Publish a dead letter anew: every subscription of the topic gets a copy."""
        return await self._subscription.requeue(message_id)

    async def publish(self, body: bytes) -> str:
        """Publish as a client would; topic and subscription are made if there are none."""
        return await self._subscription.publish(body)

    async def purge(self) -> int:
        """Take and acknowledge what waits; what somebody holds, or was released later, stays."""
        count = 0
        while taken := await self._subscription.pull_now(_PURGED_AT_ONCE, _LOOK_SECONDS):
            await self._subscription.forget([received.ack_id for received in taken])
            count += len(taken)
        return count

    async def _pulled(self) -> Delivery | None:
        """Pull a message and hold it; ``None`` when there was none, or somebody else has it now."""
        received = await pull(self._service, self._subscription)
        if received is None:
            return None
        delivery = self._delivery(received)
        try:
            await delivery.extend()
        except MessageGone as error:
            raise QueueGone(str(error)) from error
        except LeaseLost:
            return None
        except BaseException:
            await self._subscription.give_back([received])
            raise
        return delivery

    def _delivery(self, received: types.ReceivedMessage) -> PubsubDelivery:
        facts = self._subscription.facts
        return PubsubDelivery(
            self._message(received),
            self._subscription,
            Term(received.ack_id, now() + _FIRST_TERM),
            self._lease,
            facts.hold_limit(received.message.publish_time),
        )

    def _message(self, received: types.ReceivedMessage) -> Message:
        message = received.message
        return Message(
            message.message_id,
            message.data,
            self.name,
            received.delivery_attempt or 1,
            traceparent=traceparent_of(message.attributes),
        )


def traceparent_of(attributes: Mapping[str, str]) -> str:
    """Return the trace that its sender names; Google's own clients do so by another name."""
    return attributes.get(TRACEPARENT) or attributes.get(f"googclient_{TRACEPARENT}") or ""
