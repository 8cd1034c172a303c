"""What is kept while a delivery is in hand: its message, and the claim on its experiment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from runner import log
from runner.errors import HostFault, LeaseLost, MessageGone, RunnerError, Unavailable
from runner.lifecycle.board import Entry
from runner.lifecycle.ownership.claim import Claim, Unclaimed
from runner.lifecycle.ownership.handing_over import HandingOver, complete
from runner.lifecycle.ownership.keeper import Held
from runner.lifecycle.parts import Parts
from runner.model import Cause
from runner.queues.base import Delivery

_log = log.get_logger(__name__)


def hold_warning(delivery: Delivery, claim: Claim, longest: timedelta) -> str:
    """Return what the sender is to know of a message that cannot be held until the end.

    With a claim record the run goes on under it; ``longest``: how long the experiment may last.
    """
    limit = delivery.hold_limit
    if limit is None or limit >= longest or not isinstance(claim, Unclaimed):
        return ""
    hours = f"{limit.total_seconds() / 3600:.1f} h"
    return (
        f"the queue lets nobody hold a message for longer than {hours}, and this experiment has no "
        "place for a claim record: if it takes longer, it is ended and begins anew. Give it a "
        "writable output artifact, or a max_duration below that"
    )


@dataclass(eq=False)
class Holding:
    """Two promises and what their loss means (design 5.6)."""

    parts: Parts
    entry: Entry
    delivery: Delivery
    claim: Claim | None = None
    _message: Held | None = None
    _claim: Held | None = None
    _is_closed: bool = False

    @property
    def held(self) -> list[Held]:
        """What is kept."""
        return [held for held in (self._message, self._claim) if held is not None]

    def close(self) -> None:
        """Take no other delivery from now on: it is settled."""
        self._is_closed = True

    async def keep_message(self) -> None:
        """Keep the message from now on."""
        self._message = await self._kept(self.delivery)

    async def attach(self, delivery: Delivery) -> bool:
        """Hold the message by another delivery of it from now on; ``False``: it is too late.

        The broker had given us up, and handed it out again: to us.
        """
        held = await self._kept(delivery)
        if await self._is_another(delivery) or self._is_closed or self.entry.stopper.is_lost:
            await self.parts.keeper.release(held)
            return False
        before, self._message = self._message, held
        old, self.delivery = self.delivery, delivery
        self._note(message=delivery.message, token=delivery.token)
        if before is not None:
            await self.parts.keeper.release(before)
        await self._complete(old)
        return True

    async def _complete(self, old: Delivery) -> None:
        """Where it is the fresh message of a hand-over: nothing but that is to be left of it."""
        fresh, claim = self.delivery, self.claim
        if claim is None or not fresh.message.mark or fresh.message.id == old.message.id:
            return
        try:
            await self.parts.keeper.run(lambda: complete(old, fresh, claim))
        except RunnerError as error:  # the old one comes back, and is deleted or kept then
            _log.info("not all handed over", key=self.entry.record.key, trouble=str(error))

    async def _is_another(self, delivery: Delivery) -> bool:
        """Tell whether it only looks like ours, which is still held: one that was sent twice."""
        if delivery.has_own_id:
            return False
        try:
            await self.parts.keeper.run(self.delivery.extend)
        except LeaseLost:
            return False
        except Unavailable:
            return True
        return True

    async def _kept(self, delivery: Delivery) -> Held:
        """Keep a delivery; what is heard of one that another replaced is of no interest."""
        handing_over = HandingOver(delivery, self.entry.record.run)

        async def renew() -> None:
            await delivery.extend()
            if self.claim is not None and not isinstance(self.claim, Unclaimed):
                await handing_over.when_due(self.claim)

        def lost(error: RunnerError) -> None:
            if delivery is self.delivery:
                self._message_lost(error)

        def renewed() -> None:
            # Some brokers prove a lease by its last renewal: the next daemon needs that.
            if delivery is self.delivery and delivery.token != self.entry.record.token:
                self._note(token=delivery.token)

        return await self.parts.keeper.hold(
            f"message {delivery.message.id}",
            renew,
            lease=delivery.lease,
            lost=lost,
            renewed=renewed,
        )

    async def keep_claim(self, claim: Claim) -> None:
        """Keep the claim from now on.

        A store that is away for longer than the lease loses us nothing by itself: nobody can take
        the experiment over there either, and before anything is stored it is asked again.
        """
        self.claim = claim
        if isinstance(claim, Unclaimed):
            return
        self._claim = await self.parts.keeper.hold(
            f"claim on {self.entry.record.key}",
            claim.beat,
            lease=self.parts.options.claim_lease,
            lost=self._claim_lost,
            expires=False,
        )

    def _note(self, **changes: object) -> None:
        """Write down what the next daemon needs in order to hold the message."""
        self.entry.record = self.entry.record.but(**changes)
        try:
            self.parts.records.rewrite(self.entry.record)
        except HostFault as error:
            key = self.entry.record.key
            _log.warning("lease not written down", key=key, trouble=str(error))

    def _message_lost(self, error: RunnerError) -> None:
        _log.warning("message lost", key=self.entry.record.key, trouble=str(error))
        if isinstance(error, MessageGone):
            return  # nobody else has it, so the run is ours to finish and to store
        if self.claim is None or isinstance(self.claim, Unclaimed):
            self._claim_lost(error)

    def _claim_lost(self, error: RunnerError) -> None:
        self.entry.stopper.stop(Cause.LEASE_LOST, str(error))
