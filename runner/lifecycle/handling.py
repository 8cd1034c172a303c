"""One delivery in hand, from its decoding to its settling."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import anyio

from runner import log
from runner.errors import (
    HostFault,
    LeaseLost,
    Misconfigured,
    RequestError,
    RunnerError,
    Unavailable,
    Undecodable,
)
from runner.lifecycle import causes, making
from runner.lifecycle.announcing import about
from runner.lifecycle.attempt import unbegun
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.claiming import admission
from runner.lifecycle.claiming.allotting import Ledger
from runner.lifecycle.claiming.intake import Slot
from runner.lifecycle.fuses.fuse import Sign
from runner.lifecycle.gpus.choice import grouped
from runner.lifecycle.ownership.claim import Claim, Claims
from runner.lifecycle.ownership.guard import Guard
from runner.lifecycle.ownership.holding import Holding, hold_warning
from runner.lifecycle.parts import Parts
from runner.lifecycle.responses import telling
from runner.lifecycle.runs import limits, processes
from runner.lifecycle.runs.record import Phase
from runner.lifecycle.runs.remains import keep_back
from runner.lifecycle.runs.users import NoUser
from runner.lifecycle.settling import Settlement
from runner.lifecycle.taking import Taking
from runner.lifecycle.tally import Stage
from runner.model import (
    Cause,
    Deferred,
    Failed,
    Needs,
    News,
    Outcome,
    Refused,
    Request,
    Stopped,
)
from runner.queues.base import Delivery
from runner.request.reading import Reading
from runner.request.schema import decode
from runner.request.secrets import secrets_of

_log = log.get_logger(__name__)

#: What is too big for now waits this long with the machine's reservation, then goes back.
_RESERVATION_SECONDS = 3600.0
_NO_ROOM_DELAY = timedelta(seconds=30)


class Handling:
    """One delivery; settled when ``perform`` returns.

    When it is cancelled it settles nothing: the daemon leaves, and the next one finds the record.
    """

    def __init__(
        self,
        parts: Parts,
        delivery: Delivery,
        entry: Entry,
        *,
        judged: Callable[[bool | None], None] = lambda _: None,
        lacks: Callable[[Needs], None] = lambda _: None,
    ) -> None:
        """``judged`` is told once, as soon as it is known, whether this is no StudioML request.

        ``None``: it was not read, so nobody knows.

        ``lacks`` is told once what there is no room for: what comes next is probably alike.
        """
        self.parts = parts
        self.entry = entry
        self.request: Request | None = None
        #: It has the share that its record names.
        self._has_room = False
        #: Set when there was no room: what the queue's next message is expected to need.
        self.too_big_for_now: Needs | None = None
        self._holding = Holding(parts, entry, delivery)
        self._judged = judged
        self._lacks = lacks
        entry.attach = self._attach
        self._taking = Taking(parts, entry, self._holding)

    @property
    def delivery(self) -> Delivery:
        """The delivery by which the message is held."""
        return self._holding.delivery

    async def perform(self, slot: Slot) -> Outcome:
        """Handle a fresh delivery, with the room that was free when it was received."""
        twin = self.parts.board.of_message(self.entry.record)
        if twin is not None and await twin.attach(self.delivery):
            slot.give_back()
            self._judge(False)  # noqa: FBT003 - its one and only argument
            return Deferred(timedelta(0), "its run goes on here")
        self.parts.board.enter(self.entry)
        try:
            await self._holding.keep_message()
            outcome = await as_outcome(lambda: self._story(slot))
        except anyio.get_cancelled_exc_class():
            self.entry.leave(self.parts.records)
            raise
        finally:
            self._judge(None)  # whoever waits for it must not wait for ever
            slot.give_back()
        if self._taking.guarded_by is not None and self.entry.stopper.cause is None:
            await self._keep_for_others(self._taking.guarded_by)
            return outcome
        return await self._settle(outcome)

    async def _attach(self, delivery: Delivery) -> bool:
        """Hold the message by a delivery that came after ours, for the run that goes on."""
        if not await self._holding.attach(delivery):
            return False
        _log.info("its message came back to its run", key=self.entry.record.key)
        return True

    # ------------------------------------------------------------------ a fresh message

    def _judge(self, is_foreign: bool | None) -> None:  # noqa: FBT001 - its one and only argument
        """Tell what the message is; what comes after the first time is not told."""
        judged, self._judged = self._judged, lambda _: None
        judged(is_foreign)

    async def _story(self, slot: Slot) -> Outcome:
        try:
            return await self._from_the_beginning(slot)
        except (HostFault, Misconfigured) as error:
            if self.entry.record.phase is not Phase.PREPARING:
                raise
            if isinstance(error, HostFault) and self._holding.claim is None:
                return self._unclaimed(error)
            return unbegun(error)

    def _unclaimed(self, error: HostFault) -> Outcome:
        """Leave it to machines that are well: nobody knows that we had it.

        One whose disk takes no records would bury whole queues else.
        """
        record, cause = self.entry.record, causes.cause_of(Evidence(error=error))
        account = (record.broker, record.project)
        self.parts.fuse.ended(Sign(cause, record.run, account, is_machines=True))
        return Deferred(_NO_ROOM_DELAY, str(error), cause)

    async def _from_the_beginning(self, slot: Slot) -> Outcome:
        # From here on the next daemon knows of it: what this one dies of, and what it held.
        self.parts.records.write(self.entry.record)
        request = await self._decoded()
        barrier: Outcome | None = None
        async with self.entry.stopper.cancels():
            barrier = await self._taking.look(request) or await self._unboxed(request)
            barrier = barrier or await self._room(request.needs, slot)
            barrier = barrier or await self._user()
            barrier = barrier or await self._taking.take(request)
        if self.entry.stopper.cause is not None:
            return await self._stopped_before_the_start(request)
        if barrier is not None:
            return barrier
        request = self._warned(request)
        said = f"{request.experiment.key} is accepted"
        await self.parts.report(about(self.entry, News.ACCEPTED, said))
        telling.accepted(self.parts, self.entry)
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
            self._judge(is_foreign)
        return request

    async def _understood(self) -> Request:
        reading = Reading.of(self.delivery.message)
        self.entry.is_sealed = reading.is_sealed
        request = decode(await self.parts.opening.open(reading))
        self._note(key=request.experiment.key, experiment_project=request.experiment.project)
        self.parts.redactor.learn(self.entry.record.run, secrets_of(request))
        self.entry.destination = request.slack_destination
        self.entry.trail.belongs(self.entry.record, request)
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

    async def _unboxed(self, request: Request) -> Outcome | None:
        """Leave to others what is to run in an image and cannot here."""
        obstacle = await self.parts.containers.obstacle(request)
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
            # That may take an hour, in which others want to know whose it is.
            self.parts.records.write(self.entry.record)
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

    async def _stopped_before_the_start(self, request: Request) -> Outcome:
        stopper = self.entry.stopper
        cause = stopper.cause or Cause.DRAINED
        try:
            if self._holding.claim is None and cause is Cause.CANCELLED:
                # Whoever waits for its end reads the record, so it has to be written there.
                barrier = await self._taking.take(request)
                if barrier is not None:
                    return barrier
            elif self._holding.claim is None:
                await self._taking.find(request)
        except RunnerError as error:
            _log.warning("claim not taken", key=self.entry.record.key, trouble=str(error))
        return Stopped(cause, None, stopper.detail)

    # ------------------------------------------------------------------ the end

    async def _settle(self, outcome: Outcome) -> Outcome:
        """Settle, and return what was told: the outcome without what is secret."""
        self.entry.trail.failed(outcome)
        self.entry.begin(Stage.SETTLE)
        outcome = replace(outcome, detail=self.parts.redactor.redact(outcome.detail))
        self._holding.close()
        settlement = Settlement(
            self.parts,
            self.entry,
            self.delivery,
            self.request,
            self._holding.claim,
            self._taking.decided,
        )
        try:
            outcome = await settlement.settle(outcome, self._holding.held)
        finally:
            self.parts.redactor.forget(self.entry.record.run)
        await self._leave()
        return outcome

    async def _keep_for_others(self, claims: Claims) -> None:
        """Have the message kept, and be done with it: it takes no room, and nobody waits for it."""
        parts, record, held = self.parts, self.entry.record, self._holding.held
        ends = (self.entry.stopper.wait, parts.intake.closed.wait)
        lease = parts.options.claim_lease
        guard = Guard(parts.keeper, self.delivery, claims, held, ends, record.key, lease)
        parts.background(lambda: parts.guards.watch(guard))
        parts.redactor.forget(record.run)
        await self._leave()
        with anyio.CancelScope(shield=True):
            await parts.records.remove(record.run)
        parts.board.leave(record.run)

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


async def as_outcome(story: Callable[[], Awaitable[Outcome]]) -> Outcome:
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
