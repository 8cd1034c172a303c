"""A message of a local queue that we hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from runner.model import Message
from runner.queues.base import Delivery
from runner.queues.local import claims
from runner.queues.local.caretaker import Caretaker


class LocalDelivery(Delivery):
    """File operations on the claim's own path, callable from any event loop.

    It stays usable after its broker was closed: a daemon that leaves beats a last time.
    """

    def __init__(self, message: Message, claim: claims.Claim, caretaker: Caretaker) -> None:
        super().__init__(message, token=claim.token, lease=caretaker.holder.lease)
        self._claim = claim
        self._caretaker = caretaker
        self._settled = False

    async def extend(self) -> None:
        """Beat: observers see another value."""
        await self._caretaker.call(lambda: claims.keep(self._claim, self._caretaker.holder))

    async def ack(self) -> None:
        """Delete the message."""
        await self._settle(lambda: claims.forget(self._claim))

    async def release(self, delay: timedelta) -> None:
        """Give the message back at its old place; hidden in our own directory for ``delay``.

        Where the queue was deleted meanwhile, the message goes to the dead letters instead.
        """
        if delay > timedelta(0):
            await self._settle(lambda: claims.hide(self._claim, delay))
            self._caretaker.sweep_soon()
        else:
            await self._settle(lambda: claims.give_back(self._claim))

    async def bury(self, reason: str) -> None:
        """Move the message to ``dead``, with ``reason`` in a file beside it."""
        await self._settle(lambda: claims.bury(self._claim, reason))

    async def _settle(self, effect: Callable[[], None]) -> None:
        if self._settled:
            return
        await self._caretaker.call(effect)
        self._settled = True
