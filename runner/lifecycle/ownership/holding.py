"""What is kept while a delivery is in hand: its message, and the claim on its experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from runner import log
from runner.errors import HostFault, MessageGone, RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.ownership.claim import Claim, Unclaimed
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
    held: list[Held] = field(default_factory=list)

    async def keep_message(self) -> None:
        """Keep the message from now on."""
        self.held.append(
            await self.parts.keeper.hold(
                f"message {self.delivery.message.id}",
                self.delivery.extend,
                lease=self.delivery.lease,
                lost=self._message_lost,
                renewed=self._note_token,
            )
        )

    async def keep_claim(self, claim: Claim) -> None:
        """Keep the claim from now on.

        A store that is away for longer than the lease loses us nothing by itself: nobody can take
        the experiment over there either, and before anything is stored it is asked again.
        """
        self.claim = claim
        if isinstance(claim, Unclaimed):
            return
        self.held.append(
            await self.parts.keeper.hold(
                f"claim on {self.entry.record.key}",
                claim.beat,
                lease=self.parts.options.claim_lease,
                lost=self._claim_lost,
                expires=False,
            )
        )

    def _note_token(self) -> None:
        """Write down what the next daemon needs: some brokers prove a lease by its last renewal."""
        record = self.entry.record
        if self.delivery.token != record.token:
            self.entry.record = record.but(token=self.delivery.token)
            try:
                self.parts.records.rewrite(self.entry.record)
            except HostFault as error:
                _log.warning("lease not written down", key=record.key, trouble=str(error))

    def _message_lost(self, error: RunnerError) -> None:
        _log.warning("message lost", key=self.entry.record.key, trouble=str(error))
        if isinstance(error, MessageGone):
            return  # nobody else has it, so the run is ours to finish and to store
        if self.claim is None or isinstance(self.claim, Unclaimed):
            self._claim_lost(error)

    def _claim_lost(self, error: RunnerError) -> None:
        self.entry.stopper.stop(Cause.LEASE_LOST, str(error))
