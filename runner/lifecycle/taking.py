"""Has an experiment for this runner alone, or says why it is not ours."""

from __future__ import annotations

from dataclasses import dataclass

from runner.lifecycle import making
from runner.lifecycle.board import Entry
from runner.lifecycle.ownership.claim import Beating, Claim, Claims, Ended, Replaced
from runner.lifecycle.ownership.holding import Holding
from runner.lifecycle.ownership.record import outcome_of
from runner.lifecycle.parts import Parts
from runner.model import (
    Ack,
    Bury,
    Cause,
    Deferred,
    Disposition,
    Failed,
    Outcome,
    Refused,
    Request,
)


@dataclass
class Taking:
    """The claim of one delivery's experiment; what is taken is kept by ``holding``."""

    parts: Parts
    entry: Entry
    holding: Holding
    #: Another runner is at the experiment: what tells when it is not any more.
    guarded_by: Claims | None = None
    #: What is to be done with the message, where that was decided before.
    decided: Disposition | None = None

    async def take(self, request: Request) -> Outcome | None:
        """Take it; or return what the message ends with here. Raises what ``Claims.take`` does."""
        claims = await making.claims_for(self.parts, request, self.entry)
        # The next daemon knows of it by the record that was written before the message was read.
        taken = await self.parts.keeper.run(claims.take)
        if isinstance(taken, Ended) and taken.unburied is not None:
            return self.ended_before(taken)
        if isinstance(taken, Ended) and taken.buried and not self.holding.delivery.message.mark:
            taken = await self.parts.keeper.run(claims.reopen)
        if not isinstance(taken, Claim):
            return self._not_ours(taken, claims)
        self._note(attempt=taken.attempt, counted=taken.counted)
        await self.holding.keep_claim(taken)
        return self._worn_out(taken, request)

    def _worn_out(self, claim: Claim, request: Request) -> Outcome | None:
        """Refuse it where nobody lived to say so, but the attempts before have used up all."""
        policy = self.parts.options.retry.of(request)
        if claim.previous_cause != Cause.HOST_FAULT or claim.counted < policy.max_attempts:
            return None
        said = f"whoever had it before died of it or with it, {claim.counted} times"
        return Failed(Cause.HOST_FAULT, None, said)

    async def look(self, request: Request) -> Outcome | None:
        """Look only, before room is taken, where a runner says that it works on the experiment."""
        if not self.holding.delivery.message.mark:
            return None
        claims = await making.claims_for(self.parts, request, self.entry)
        said = await self.parts.keeper.run(claims.look)
        return self._not_ours(said, claims) if isinstance(said, Beating | Replaced) else None

    def _not_ours(self, said: Beating | Ended | Replaced, claims: Claims) -> Outcome:
        if isinstance(said, Replaced):
            return Refused(Cause.NOT_OURS, "a later message stands for it")
        if isinstance(said, Ended):
            return Refused(Cause.NOT_OURS, f"it has ended before: {said.outcome.cause}")
        if said.is_carrier:
            self.guarded_by = claims
        who = said.owner.host if said.owner else "another runner"
        return Deferred(said.wait, f"{who} works on it")

    async def find(self, request: Request) -> Ended | None:
        """Have the claim that was left for this very run; return how it ended, where it did."""
        claims = await making.claims_for(self.parts, request, self.entry)
        found = await self.parts.keeper.run(claims.left)
        if isinstance(found, Ended):
            return found
        self.holding.claim = found
        return None

    def ended_before(self, ended: Ended) -> Outcome:
        """The record came to be written, and the broker was not told: only settling is left."""
        self._note(attempt=ended.attempt)
        self.holding.claim = ended.unburied
        self.decided = Bury(ended.outcome.detail) if ended.buried else Ack()
        return outcome_of(ended.outcome)

    def _note(self, **changes: object) -> None:
        self.entry.record = self.entry.record.but(**changes)
