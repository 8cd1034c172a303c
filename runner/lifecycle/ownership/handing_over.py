"""Has a fresh message stand for a run before its broker takes away the one that is held.

SQS lets nobody hold a message for longer than 12 hours, and deletes it at its queue's retention. So
in good time, and again and again, in this order:

1. the claim's beat proves that the experiment is ours;
2. the body is sent as a fresh message that bears our mark;
3. the claim record says that this one stands for the experiment, and no longer the old one;
4. the old one is deleted.

Whatever dies between two of them leaves a message for the experiment, and no attempt but ours while
the claim beats. After 1 nothing has happened. After 2 there are two messages: both are kept from
running by the claim, and the one that its end does not find is deleted by it. After 3 the old one
comes back after its lease, and whoever gets it reads in the record that it is to be deleted. Nobody
need hold the fresh one: whoever receives it keeps it (``guard``).
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from runner import log
from runner.errors import RunnerError
from runner.lifecycle.ownership.claim import Claim
from runner.queues.base import Delivery

_log = log.get_logger(__name__)


async def complete(old: Delivery, fresh: Delivery, claim: Claim) -> None:
    """Do what is left of a hand-over whose fresh message came to us before the steps were done.

    Raises StoreUnavailable, QueueUnavailable; LeaseLost too where all was done.
    """
    await claim.hand_to(fresh.message.id)
    await old.ack()


@dataclass(eq=False)
class HandingOver:
    """Called at every renewal of the message, on the keeper's loop.

    A call that is cut off, or that the broker or the store refuses, is made good by the next: of
    what was sent and not written down, nothing is known, and one more is sent.
    """

    delivery: Delivery
    #: ``Record.run``.
    run: str
    #: Sent, and named in the claim record.
    _fresh: str = ""
    _trouble: str = ""

    async def when_due(self, claim: Claim) -> None:
        """Hand over if it is time; trouble is only logged, for the old message is held as before.

        ``claim`` has a record in a store. What hangs must not look like a lease that was not
        renewed.
        """
        with anyio.move_on_after(self.delivery.lease.total_seconds() / 4) as bound:
            await self._try_to(claim)
        if bound.cancelled_caught:
            self._note("no answer in time")

    async def _try_to(self, claim: Claim) -> None:
        try:
            if self._fresh or self.delivery.is_ageing:
                await self._hand_over(claim)
        except RunnerError as error:
            self._note(str(error))

    def _note(self, trouble: str) -> None:
        """Say the same trouble once: it is tried at every renewal."""
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("not handed over yet", run=self.run, trouble=trouble)

    async def _hand_over(self, claim: Claim) -> None:
        if not self._fresh:
            await claim.beat()
            fresh = await self.delivery.send_on(self.run)
            await claim.hand_to(fresh)
            self._fresh = fresh
        await self.delivery.leave()
        _log.info("handed over", run=self.run, message=self._fresh)
        self._fresh = self._trouble = ""
