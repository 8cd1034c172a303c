"""One delivery in hand, from its decoding to its settling."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import anyio

from runner import log
from runner.errors import (
    LeaseLost,
    RequestError,
    RunnerError,
    StoreUnavailable,
    Unavailable,
    Undecodable,
)
from runner.lifecycle import causes, making
from runner.lifecycle.announcing import about
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.claiming import admission
from runner.lifecycle.claiming.allotting import Ledger
from runner.lifecycle.claiming.intake import Slot
from runner.lifecycle.gpus.choice import grouped
from runner.lifecycle.ownership.claim import Beating, Claim, Claims, Ended, Unclaimed
from runner.lifecycle.ownership.holding import Holding, hold_warning
from runner.lifecycle.ownership.record import outcome_of
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs import limits, processes
from runner.lifecycle.runs.record import Phase
from runner.lifecycle.runs.remains import keep_back
from runner.lifecycle.runs.users import NoUser
from runner.lifecycle.settling import Settlement
from runner.lifecycle.tally import Stage
from runner.model import (
    Ack,
    Bury,
    Cause,
    Deferred,
    Disposition,
    Failed,
    Needs,
    News,
    Outcome,
    Refused,
    Request,
    Stopped,
)
from runner.queues.base import Delivery
from runner.request import decode
from runner.request.secrets import secrets_of

_log = log.get_logger(__name__)

#: What is too big for now waits this long with the machine's reservation, then goes back.
_RESERVATION_SECONDS = 3600.0
_NO_ROOM_DELAY = timedelta(seconds=30)
_ADOPT_PAUSE = 1.0


async def _never_lost() -> bool:
    return False


class Handling:
    """One delivery; settled when ``perform`` or ``resume`` returns.

    When it is cancelled it settles nothing: the daemon leaves, and the next one finds the record.
    """

    def __init__(
        self,
        parts: Parts,
        delivery: Delivery,
        entry: Entry,
        *,
        judged: Callable[[bool], None] = lambda _: None,
        lacks: Callable[[Needs], None] = lambda _: None,
        message_is_lost: Callable[[], Awaitable[bool]] = _never_lost,
    ) -> None:
        """``judged`` is told once, as soon as it is known, whether this is no StudioML request.

        ``lacks`` is told once what there is no room for: what comes next is probably alike.
        ``message_is_lost`` tells of an adopted one whether somebody else may have its message.
        """
        self.parts = parts
        self.delivery = delivery
        self.entry = entry
        self.request: Request | None = None
        #: It has the share that its record names.
        self._has_room = False
        #: Set when there was no room: what the queue's next message is expected to need.
        self.too_big_for_now: Needs | None = None
        self._holding = Holding(parts, entry, delivery)
        self._judged = judged
        self._lacks = lacks
        self._is_lost = message_is_lost
        self._message_is_lost = False
        self._decided: Disposition | None = None

    async def perform(self, slot: Slot) -> Outcome:
        """Handle a fresh delivery, with the room that was free when it was received."""
        self.parts.board.enter(self.entry)
        try:
            await self._holding.keep_message()
            outcome = await _as_outcome(lambda: self._story(slot))
        finally:
            slot.give_back()
        return await self._settle(outcome)

    async def resume(self) -> Outcome:
        """Go on with a run that outlived the daemon before us; its room is restored already.

        What that daemon was only making ready is given back: no part of it may go on.
        """
        self.parts.board.enter(self.entry)
        has_run = self.entry.record.phase is not Phase.PREPARING
        self._has_room = True
        self._message_is_lost = await self._is_lost()
        await self._holding.keep_message()
        outcome = await _as_outcome(self._resumed if has_run else self._given_back)
        return await self._settle(outcome)

    # ------------------------------------------------------------------ a fresh message

    async def _story(self, slot: Slot) -> Outcome:
        request = await self._decoded()
        self._note(key=request.experiment.key, experiment_project=request.experiment.project)
        barrier: Outcome | None = None
        async with self.entry.stopper.cancels():
            barrier = self._unboxed(request) or await self._room(request.needs, slot)
            barrier = barrier or await self._user()
            barrier = barrier or await self._take_claim(request)
        if self.entry.stopper.cause is not None:
            return await self._stopped_before_the_start(request)
        if barrier is not None:
            return barrier
        request = self._warned(request)
        said = f"{request.experiment.key} is accepted"
        await self.parts.report(about(self.entry, News.ACCEPTED, said))
        attempt = await making.new_attempt(self.parts, request, self.entry, self._claim())
        outcome = await attempt.perform()
        if outcome.cause is Cause.NO_ROOM:
            self._is_too_big(request.needs)
        return outcome

    def _warned(self, request: Request) -> Request:
        record, cap = self.entry.record, self.parts.options.duration_cap
        left = limits.limits(request, cap=cap, now=time.time(), claimed_at=record.claimed_at)
        warning = hold_warning(self.delivery, self._claim(), min(left.values()))
        if not warning:
            return request
        _log.warning("held for a limited time", key=record.key, warning=warning)
        self.request = replace(request, warnings=(*request.warnings, warning))
        return self.request

    async def _decoded(self) -> Request:
        is_foreign = False
        try:
            request = await self._understood()
        except Undecodable:
            is_foreign = True
            raise
        finally:
            self._judged(is_foreign)
        return request

    async def _understood(self) -> Request:
        request = decode(await self.parts.opening.open(self.delivery.message))
        self.parts.redactor.learn(self.entry.record.run, secrets_of(request))
        self.entry.destination = request.slack_destination
        self.request = replace(request, needs=self._grouped(request))
        return self.request

    def _grouped(self, request: Request) -> Needs:
        record = self.entry.record
        return grouped(
            request.needs,
            self.parts.options.gpu_sharing,
            queue=f"{record.broker}/{record.project}/{record.message.queue}",
            project=request.experiment.project,
        )

    def _unboxed(self, request: Request) -> Outcome | None:
        """Leave to others what is to run in an image and cannot here."""
        obstacle = self.parts.containers.obstacle(request)
        if not obstacle:
            return None
        return Deferred(self.parts.options.retry.longest_delay, obstacle, Cause.SANDBOX_UNAVAILABLE)

    async def _room(self, needs: Needs, slot: Slot) -> Outcome | None:
        intake, ledger = self.parts.intake, self.parts.intake.ledger
        reserve = ledger.gpu_reserve
        verdict = admission.decide(needs, ledger.free, ledger.total, reserve=reserve)
        if isinstance(verdict, admission.Never):
            return Refused(Cause.TOO_BIG, verdict.reason)
        allocation = slot.grow(needs)
        if allocation is None:
            slot.give_back()
            if needs.gpu_count:  # also behind it in its queue nothing else is likely to wait
                self._is_too_big(needs)
            self.entry.begin(Stage.ROOM)
            with anyio.move_on_after(_RESERVATION_SECONDS):
                allocation = await slot.reserved(needs)
        if allocation is None:
            self._is_too_big(needs)
            delay = timedelta(0) if intake.is_closed else _NO_ROOM_DELAY
            return Deferred(delay, _no_room(needs, ledger), Cause.NO_ROOM)
        self._note(allocation=allocation)
        self._has_room, self.too_big_for_now = True, None
        return None

    async def _user(self) -> Outcome | None:
        try:
            self._note(identity=await self.parts.users.take())
        except NoUser as error:
            return Deferred(_NO_ROOM_DELAY, str(error), Cause.NO_ROOM)
        return None

    def _is_too_big(self, needs: Needs) -> None:
        if self.too_big_for_now is None:
            self._lacks(needs)
        self.too_big_for_now = needs

    async def _take_claim(self, request: Request) -> Outcome | None:
        claims = await making.claims_for(self.parts, request, self.entry)
        # Written first: a claim of which no next daemon knows would be waited for, for a lease.
        self.parts.records.write(self.entry.record)
        taken = await self.parts.keeper.run(claims.take)
        if isinstance(taken, Ended) and taken.unburied is not None:
            return self._ended_before(taken)
        if isinstance(taken, Ended) and taken.buried:
            taken = await self.parts.keeper.run(claims.reopen)
        if isinstance(taken, Beating):
            who = taken.owner.host if taken.owner else "another runner"
            return Deferred(taken.wait, f"{who} works on it")
        if isinstance(taken, Ended):
            return Refused(Cause.NOT_OURS, f"it has ended before: {taken.outcome.cause}")
        self._note(attempt=taken.attempt)
        await self._holding.keep_claim(taken)
        return None

    async def _stopped_before_the_start(self, request: Request) -> Outcome:
        stopper = self.entry.stopper
        cause = stopper.cause or Cause.DRAINED
        try:
            if self._holding.claim is None and cause is Cause.CANCELLED:
                # Whoever waits for its end reads the record, so it has to be written there.
                barrier = await self._take_claim(request)
                if barrier is not None:
                    return barrier
            elif self._holding.claim is None:
                await self._find_claim(request)
        except RunnerError as error:
            _log.warning("claim not taken", key=self.entry.record.key, trouble=str(error))
        return Stopped(cause, None, stopper.detail)

    # ------------------------------------------------------------------ after a restart

    async def _resumed(self) -> Outcome:
        try:
            request = await self._understood()
            claims = await making.claims_for(self.parts, request, self.entry)
            taken = await self._adopted(claims)
            if isinstance(taken, Ended):
                return self._ended_before(taken)
            self._check(taken)
            await self._holding.keep_claim(taken)
            attempt = await making.attempt_again(self.parts, request, self.entry, taken)
        except Exception:
            await self._end()
            raise
        return await attempt.resume()

    def _check(self, claim: Claim) -> None:
        if isinstance(claim, Unclaimed) and self._message_is_lost:
            raise LeaseLost("its message came back to the queue, and nothing says it is ours")

    async def _adopted(self, claims: Claims) -> Claim | Ended:
        """Ask a store that does not answer again and again: the run goes on meanwhile."""
        give_up = anyio.current_time() + self.parts.options.upload_patience.total_seconds()
        while True:
            try:
                return await self.parts.keeper.run(claims.adopt)
            except StoreUnavailable as error:
                is_late = anyio.current_time() > give_up
                if is_late or not await self.entry.stopper.pause(_ADOPT_PAUSE):
                    raise LeaseLost(f"nothing says that it is still ours: {error}") from error

    async def _given_back(self) -> Outcome:
        await self._end()  # it may have been about to begin
        await self._leave()
        request = await self._understood()
        ended = await self._find_claim(request)
        if ended is not None:
            return self._ended_before(ended)
        received, fuse = self.delivery.message.receive_count, self.parts.options.retry.fuse
        if received < fuse:
            return Stopped(Cause.DRAINED, None, "the daemon died while it was made ready")
        if self._holding.claim is None:
            # Whoever waits for its end reads the record, so it has to be written there.
            barrier = await self._take_claim(request)
            if barrier is not None:
                return barrier
        return Failed(Cause.HOST_FAULT, None, "the daemon died each time it was made ready")

    async def _find_claim(self, request: Request) -> Ended | None:
        claims = await making.claims_for(self.parts, request, self.entry)
        found = await self.parts.keeper.run(claims.left)
        if isinstance(found, Ended):
            return found
        self._holding.claim = found
        return None

    def _ended_before(self, ended: Ended) -> Outcome:
        """The record came to be written, and the broker was not told: only settling is left."""
        self._note(attempt=ended.attempt)
        self._holding.claim = ended.unburied
        self._decided = Bury(ended.outcome.detail) if ended.buried else Ack()
        return outcome_of(ended.outcome)

    # ------------------------------------------------------------------ the end

    async def _settle(self, outcome: Outcome) -> Outcome:
        """Settle, and return what was told: the outcome without what is secret."""
        self.entry.begin(Stage.SETTLE)
        outcome = replace(outcome, detail=self.parts.redactor.redact(outcome.detail))
        settlement = Settlement(
            self.parts,
            self.entry,
            self.delivery,
            self.request,
            self._holding.claim,
            self._decided,
        )
        try:
            await settlement.settle(outcome, self._holding.held)
        finally:
            self.parts.redactor.forget(self.entry.record.run)
        await self._leave()
        return outcome

    async def _end(self) -> None:
        record = self.entry.record
        left = await processes.end(record.run)
        if left := [*left, *await self.parts.users.end(record.identity)]:
            keep_back(self.parts, self.entry, left)

    async def _leave(self) -> None:
        """Give the user back, and then the share: there is a user for whoever gets that."""
        identity = self.entry.record.identity
        self._note(identity=None)  # another experiment may be this user from now on
        try:
            await self.parts.users.give_back(identity)
        finally:
            self._release()

    def _release(self) -> None:
        """Give the share back, but for one on which processes may still sit."""
        if self._has_room:
            self._has_room = False
            if self.entry.record.run not in self.parts.remains:
                self.parts.intake.release(self.entry.record.allocation)

    def _claim(self) -> Claim:
        assert self._holding.claim is not None  # noqa: S101 - asked only after it was taken
        return self._holding.claim

    def _note(self, **changes: object) -> None:
        self.entry.record = self.entry.record.but(**changes)


def _no_room(needs: Needs, ledger: Ledger) -> str:
    said = "there is no room for it now"
    reserve, withheld = ledger.gpu_reserve, ledger.withheld
    verdict = admission.decide(needs, ledger.free, ledger.total, reserve=reserve, withheld=withheld)
    return f"{said}: {verdict.reason}" if isinstance(verdict, admission.Later) else said


async def _as_outcome(story: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Every error is an outcome: whatever went wrong, the message has to be settled."""
    try:
        return await story()
    except RequestError as error:
        is_foreign = isinstance(error, Undecodable)
        return Refused(Cause.NOT_A_REQUEST if is_foreign else Cause.BAD_REQUEST, str(error))
    except LeaseLost as error:
        return Stopped(Cause.LEASE_LOST, None, str(error))
    except Unavailable as error:  # nothing has begun: the world has time to mend
        return Deferred(timedelta(0), str(error), causes.cause_of(Evidence(error=error)))
    except RunnerError as error:
        return Failed(causes.cause_of(Evidence(error=error)), None, str(error))
    except Exception as error:  # noqa: BLE001 - our bug must not cost the message
        _log.error("a defect of the runner", exc_info=error)
        return Failed(Cause.INTERNAL, None, f"{type(error).__name__}: {error}")
