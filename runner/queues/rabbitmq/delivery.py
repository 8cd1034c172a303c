"""A message of RabbitMQ that we hold, as the seam wants it: usable from any event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from runner.queues.base import Delivery
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.holding import Hold, Undertaker


class RabbitDelivery(Delivery):
    """Hops to the engine's loop, where the hold is."""

    has_own_id = False  # clients give none: it is made of what the message says

    def __init__(self, hold: Hold, undertaker: Undertaker) -> None:
        super().__init__(hold.message, token=hold.token, lease=timedelta(seconds=hold.lease))
        self._hold = hold
        self._undertaker = undertaker
        self._settled = False

    async def extend(self) -> None:
        """Renew the copy in the parking queue, which then has its whole time before it again."""
        await ENGINE.run(self._hold.extend)

    async def ack(self) -> None:
        """Delete the message; the broker has confirmed it when this returns."""
        await self._settle(self._hold.ack)

    async def release(self, delay: timedelta) -> None:
        """Send the message back to its queue, at its end."""
        await self._settle(lambda: self._hold.release(delay))

    async def bury(self, reason: str) -> None:
        """Bury the message with the queue's owner, or in our drawer. Raises HostFault."""
        await self._settle(lambda: self._hold.bury(reason, self._undertaker))

    async def _settle(self, effect: Callable[[], Awaitable[None]]) -> None:
        if self._settled:
            return
        await ENGINE.run(effect)
        self._settled = True
