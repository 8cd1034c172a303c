"""What is kept while a delivery is in hand: its message, and the claim on its experiment."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner import log
from runner.errors import RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.claim import Claim, Unclaimed
from runner.lifecycle.keeper import Held
from runner.lifecycle.parts import Parts
from runner.model import Cause
from runner.queues.base import Delivery

_log = log.get_logger(__name__)


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

    def _message_lost(self, error: RunnerError) -> None:
        _log.warning("message lost", key=self.entry.record.key, trouble=str(error))
        if self.claim is None or isinstance(self.claim, Unclaimed):
            self._claim_lost(error)

    def _claim_lost(self, error: RunnerError) -> None:
        self.entry.stopper.stop(Cause.LEASE_LOST, str(error))
