"""A subscription as its messages see it: usable on any event loop, and after the broker's end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import anyio
from google.pubsub_v1 import types

from runner import blocking, log
from runner.errors import LeaseLost, QueueDenied, QueueGone, QueueUnavailable
from runner.model import Message
from runner.queues.drawer import DeadLetter, Drawer
from runner.queues.pubsub import names
from runner.queues.pubsub.facts import UNKNOWN, FactBook, Facts, facts_of
from runner.queues.pubsub.service import Service
from runner.queues.reasons import shortened

T = TypeVar("T")

_log = log.get_logger(__name__)

#: Pub/Sub keeps no message hidden for longer in one go.
LONGEST_HIDDEN = timedelta(seconds=600)
_SHORTEST_LEASE = timedelta(seconds=1)
#: Longest value of an attribute, in bytes.
_LONGEST_ATTRIBUTE = 1024
_GIVE_BACK_SECONDS = 2.0


class Subscription:
    """Its path, its facts, and what can be done with its messages by their ack ids."""

    def __init__(self, path: str, service: Service, book: FactBook, drawer: Drawer) -> None:
        self.path = path
        #: The queue's, and that of its dead letters.
        self.address = names.address(path)
        self._service = service
        self._book = book
        self._drawer = drawer
        self._limit = blocking.Limit(2)

    @property
    def facts(self) -> Facts:
        """What is known by now."""
        return self._book.of(self.path)

    async def learn(self) -> Facts:
        """Read the settings unless that was done lately; a missing right leaves them unknown.

        Raises QueueUnavailable, QueueGone.
        """
        if not self._book.is_fresh(self.path):
            try:
                facts = facts_of(await self._service.subscription(self.path))
            except QueueDenied as error:
                _log.info("settings of a subscription are not known", trouble=str(error))
                facts = UNKNOWN
            self._book.note(self.path, facts)
        return self.facts

    # ------------------------------------------------------------------ messages

    async def hide(self, ack_id: str, delay: timedelta) -> None:
        """Let the message come back after ``delay``, in whole seconds, ten minutes at most."""
        seconds = math.ceil(min(delay, LONGEST_HIDDEN).total_seconds())
        await self._service.modify(self.path, [ack_id], seconds)

    async def forget(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge."""
        await self._service.acknowledge(self.path, ack_ids)

    async def give_back(self, received: Sequence[types.ReceivedMessage]) -> None:
        """Show messages again, as far as that can be done at once; else their deadline does."""
        if not received:
            return
        with (
            anyio.move_on_after(_GIVE_BACK_SECONDS, shield=True),
            suppress(QueueUnavailable, LeaseLost),
        ):
            await self._service.modify(self.path, [one.ack_id for one in received], 0)

    async def pull_now(self, most: int, seconds: float) -> list[types.ReceivedMessage]:
        """Take what comes within ``seconds``."""
        return await self._service.pull_now(self.path, most, seconds)

    # ------------------------------------------------------------------ dead letters

    async def bury(self, message: Message, reason: str) -> None:
        """Keep a dead letter where the owner wants them, else on this machine's disk."""
        topic = (await self._facts_in_passing()).dead_letter_topic
        if not topic or not await self._sent(topic, message, reason):
            await self._call(lambda: self._drawer.put(self.address, message, reason))

    async def dead(self) -> Sequence[DeadLetter]:
        """Read the dead letters of this machine."""
        return await self._call(lambda: self._drawer.all_of(self.address))

    async def requeue(self, message_id: str) -> bool:
        """Publish a dead letter of this machine anew."""
        letter = await self._call(lambda: self._drawer.take(self.address, message_id))
        if letter is None:
            return False
        await self.publish(letter.message.body)
        await self._call(lambda: self._drawer.remove(self.address, message_id))
        return True

    async def _sent(self, topic: str, message: Message, reason: str) -> bool:
        attributes = {
            "studio_runner_reason": shortened(reason, _LONGEST_ATTRIBUTE) or "no reason",
            "studio_runner_subscription": self.path,
            "studio_runner_message_id": message.id,
        }
        try:
            await self._service.publish(topic, message.body, attributes)
        except (QueueDenied, QueueGone) as error:
            _log.warning("the owner's place for dead letters is closed", trouble=str(error))
            return False
        return True

    async def _facts_in_passing(self) -> Facts:
        with suppress(QueueUnavailable):
            await self.learn()
        return self.facts

    # ------------------------------------------------------------------ publishing

    async def publish(self, body: bytes) -> str:
        """Publish as a client would: topic and subscription are made if there are none.

        Every subscription of the topic gets a copy. Whoever may publish and nothing else does so
        on the topic that the subscription's name says.
        """
        return await self._service.publish(await self._topic(), body, {})

    async def _topic(self) -> str:
        if self.facts.topic:
            return self.facts.topic
        try:
            subscription = await self._service.subscription(self.path)
        except QueueGone:
            return await self._service.make(self.path)
        except QueueDenied:
            return names.topic_path(self.path)
        facts = facts_of(subscription)
        self._book.note(self.path, facts)
        if not facts.topic:
            raise QueueUnavailable(
                f"the topic of {self.path} was deleted: nothing can be sent there any more"
            )
        return facts.topic

    async def _call(self, function: Callable[[], T]) -> T:
        return await blocking.call(lambda _: function(), limit=self._limit)


def lease_of(wanted: timedelta) -> timedelta:
    """Return the lease in whole seconds, as Pub/Sub counts them."""
    whole = timedelta(seconds=math.ceil(wanted.total_seconds()))
    return min(max(whole, _SHORTEST_LEASE), LONGEST_HIDDEN)
