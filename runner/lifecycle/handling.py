"""One delivery in hand, from its decoding to its settling."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from runner import log
from runner.errors import LeaseLost, RequestError, RunnerError, Undecodable
from runner.lifecycle import admission, causes, making
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.claim import Beating, Claim, Ended, Unclaimed
from runner.lifecycle.intake import Slot
from runner.lifecycle.keeper import Held
from runner.lifecycle.parts import Parts
from runner.lifecycle.settling import Settlement
from runner.model import (
    Allocation,
    Cause,
    Deferred,
    Failed,
    Needs,
    News,
    Outcome,
    Refused,
    Report,
    Request,
    Stopped,
)
from runner.queues.base import Delivery
from runner.request import decode

_log = log.get_logger(__name__)

#: What is too big for now waits this long with the machine's reservation, then goes back.
_RESERVATION_SECONDS = 600.0
_NO_ROOM_DELAY = timedelta(seconds=30)


@dataclass(eq=False)
class Handling:
    """One delivery; settled when ``perform`` or ``resume`` returns.

    When it is cancelled it settles nothing: the daemon leaves, and the next one finds the record.
    """

    parts: Parts
    delivery: Delivery
    entry: Entry
    request: Request | None = None
    claim: Claim | None = None
    allocation: Allocation | None = None
    #: Set when there was no room: what the queue's next message is expected to need.
    too_big_for_now: Needs | None = None
    #: The message is no StudioML request at all; three of them set the queue aside.
    is_foreign: bool = False
    _held: list[Held] = field(default_factory=list)

    async def perform(self, slot: Slot) -> Outcome:
        """Handle a fresh delivery, with the room that was free when it was received."""
        self.parts.board.enter(self.entry)
        try:
            await self._hold_delivery()
            outcome = await self._outcome(slot)
        finally:
            slot.give_back()
        await self._settle(outcome)
        return outcome

    async def resume(self) -> Outcome:
        """Go on with a run that outlived the daemon before us; its room is restored already."""
        self.parts.board.enter(self.entry)
        self.allocation = self.entry.record.allocation
        await self._hold_delivery()
        try:
            outcome = await self._resumed()
        except RunnerError as error:
            outcome = _failed(error)
        except Exception as error:  # noqa: BLE001 - our bug must not cost the message
            outcome = _our_fault(error)
        await self._settle(outcome)
        return outcome

    # ------------------------------------------------------------------ the story

    async def _outcome(self, slot: Slot) -> Outcome:
        try:
            return await self._story(slot)
        except Undecodable as error:
            self.is_foreign = True
            return Refused(Cause.NOT_A_REQUEST, str(error))
        except RequestError as error:
            return Refused(Cause.BAD_REQUEST, str(error))
        except RunnerError as error:
            return _failed(error)
        except Exception as error:  # noqa: BLE001 - our bug must not cost the message
            return _our_fault(error)

    async def _story(self, slot: Slot) -> Outcome:
        self.request = request = decode(self.delivery.message)
        self._note(key=request.experiment.key, experiment_project=request.experiment.project)
        barrier: Outcome | None = None
        async with self.entry.stopper.cancels():
            barrier = await self._room(request.needs, slot) or await self._take_claim(request)
        if self.entry.stopper.cause is not None:
            return Stopped(self.entry.stopper.cause, None, self.entry.stopper.detail)
        if barrier is not None:
            return barrier
        self.parts.records.write(self.entry.record)
        await self._say(News.ACCEPTED, f"{request.experiment.key} is accepted")
        attempt = await making.new_attempt(self.parts, request, self.entry, self._our_claim())
        return await attempt.perform()

    async def _resumed(self) -> Outcome:
        self.request = request = decode(self.delivery.message)
        claims = await making.claims_for(self.parts, request, self.entry)
        taken = await self.parts.keeper.run(claims.adopt)
        if isinstance(taken, Ended):
            return Refused(Cause.NOT_OURS, "the experiment has ended; only settling was left")
        self.claim = taken
        await self._hold_claim()
        attempt = await making.attempt_again(self.parts, request, self.entry, taken)
        return await attempt.resume()

    async def _room(self, needs: Needs, slot: Slot) -> Outcome | None:
        intake = self.parts.intake
        verdict = admission.decide(needs, intake.ledger.total, intake.ledger.total)
        if isinstance(verdict, admission.Never):
            return Refused(Cause.TOO_BIG, verdict.reason)
        self.allocation = slot.grow(needs)
        if self.allocation is None:
            slot.give_back()
            self.entry.stage = "waiting for room"
            with anyio.move_on_after(_RESERVATION_SECONDS):
                self.allocation = await intake.reserved(needs)
        if self.allocation is None:
            self.too_big_for_now = needs
            return Deferred(_NO_ROOM_DELAY, "there is no room for it now", Cause.NO_ROOM)
        self._note(allocation=self.allocation)
        return None

    async def _take_claim(self, request: Request) -> Outcome | None:
        claims = await making.claims_for(self.parts, request, self.entry)
        taken = await self.parts.keeper.run(claims.take)
        if isinstance(taken, Ended) and taken.buried:
            taken = await self.parts.keeper.run(claims.reopen)
        if isinstance(taken, Beating):
            who = taken.owner.host if taken.owner else "another runner"
            return Deferred(taken.wait, f"{who} works on it")
        if isinstance(taken, Ended):
            return Refused(Cause.NOT_OURS, f"it has ended before: {taken.outcome.cause}")
        self.claim = taken
        self._note(attempt=taken.attempt)
        await self._hold_claim()
        return None

    # ------------------------------------------------------------------ leases

    async def _hold_delivery(self) -> None:
        self._held.append(
            await self.parts.keeper.hold(
                f"message {self.delivery.message.id}",
                self.delivery.extend,
                lease=self.delivery.lease,
                lost=self._delivery_lost,
            )
        )

    async def _hold_claim(self) -> None:
        claim = self._our_claim()
        if isinstance(claim, Unclaimed):
            return
        self._held.append(
            await self.parts.keeper.hold(
                f"claim on {self.entry.record.key}",
                claim.beat,
                lease=self.parts.options.claim_lease,
                lost=self._claim_lost,
            )
        )

    def _delivery_lost(self, error: RunnerError) -> None:
        _log.warning("message lost", key=self.entry.record.key, trouble=str(error))
        if self.claim is None or isinstance(self.claim, Unclaimed):
            self.entry.stopper.stop(Cause.LEASE_LOST, str(error))

    def _claim_lost(self, error: RunnerError) -> None:
        self.entry.stopper.stop(Cause.LEASE_LOST, str(error))

    def _our_claim(self) -> Claim:
        assert self.claim is not None  # noqa: S101 - asked only after it was taken
        return self.claim

    # ------------------------------------------------------------------ the end

    async def _settle(self, outcome: Outcome) -> None:
        self.entry.stage = "settling"
        settlement = Settlement(self.parts, self.entry, self.delivery, self.request, self.claim)
        await settlement.settle(outcome, self._held)
        if self.allocation is not None:
            self.parts.intake.release(self.allocation)

    async def _say(self, news: News, text: str) -> None:
        record = self.entry.record
        await self.parts.report(
            Report(
                news,
                text,
                queue=record.message.queue,
                key=record.key,
                project=record.experiment_project,
                attempt=record.attempt,
            )
        )

    def _note(self, **changes: object) -> None:
        self.entry.record = self.entry.record.but(**changes)


def _failed(error: RunnerError) -> Outcome:
    cause = causes.cause_of(Evidence(error=error))
    if isinstance(error, LeaseLost):
        return Stopped(cause, None, str(error))
    return Failed(cause, None, str(error))


def _our_fault(error: Exception) -> Outcome:
    _log.error("a defect of the runner", exc_info=error)
    return Failed(Cause.INTERNAL, None, f"{type(error).__name__}: {error}")
