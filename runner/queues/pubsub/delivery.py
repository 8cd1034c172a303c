"""A message of a subscription that we hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from runner.errors import LeaseLost, MessageGone, QueueGone
from runner.model import Message
from runner.queues.base import Delivery
from runner.queues.pubsub.subscription import Subscription
from runner.queues.pubsub.term import Term, now


class PubsubDelivery(Delivery):
    """Kept and settled on any event loop, also after the broker was closed.

    Only exactly-once subscriptions prove what they answer. With all others it is our clock that
    says when the lease is over, and an answer that came later proves nothing.
    """

    def __init__(
        self,
        message: Message,
        subscription: Subscription,
        term: Term,
        lease: timedelta,
        hold_limit: timedelta | None = None,
        *,
        clock: Callable[[], float] = now,
    ) -> None:
        super().__init__(message, token=term.token(), lease=lease)
        self.hold_limit = hold_limit
        self._subscription = subscription
        self._term = term
        self._clock = clock
        self._is_settled = False
        self._is_buried = False

    async def extend(self) -> None:
        """Keep it for another lease; ``token`` tells the new end."""
        self._check()
        began = self._clock()
        await self._told(lambda ack_id: self._subscription.hide(ack_id, self.lease))
        self._check()
        self._term = Term(self._term.ack_id, began + self.lease.total_seconds())
        self.token = self._term.token()

    async def ack(self) -> None:
        """Acknowledge it."""
        await self._settle(self._forget)

    async def release(self, delay: timedelta) -> None:
        """Give it back; Pub/Sub hides it for ten minutes at most, also where ``delay`` is longer.

        A retry policy of the subscription may hide it for longer.
        """
        await self._settle(
            lambda: self._told(lambda ack_id: self._subscription.hide(ack_id, delay))
        )

    async def bury(self, reason: str) -> None:
        """Keep a dead letter, then acknowledge it."""
        await self._settle(lambda: self._bury(reason))

    async def _bury(self, reason: str) -> None:
        if not self._is_buried:
            await self._subscription.bury(self.message, reason)
            self._is_buried = True
        await self._forget()

    async def _forget(self) -> None:
        await self._told(lambda ack_id: self._subscription.forget([ack_id]))

    async def _settle(self, effect: Callable[[], Awaitable[None]]) -> None:
        if self._is_settled:
            return
        self._check()
        await effect()
        self._is_settled = True

    async def _told(self, tell: Callable[[str], Awaitable[None]]) -> None:
        try:
            await tell(self._term.ack_id)
        except QueueGone as error:
            raise MessageGone(str(error)) from error

    def _check(self) -> None:
        if self._term.is_over(self._clock) and not self._subscription.facts.exactly_once:
            raise LeaseLost(
                f"message {self.message.id} of {self._subscription.path} was not kept in time"
            )
