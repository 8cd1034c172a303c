"""One attempt: make ready, run, bring home; returns an Outcome and settles nothing.

Being *cancelled* means that the daemon leaves: the run goes on, its record stays, and the next
daemon adopts it. Being *stopped* (``Stopper``) means that the experiment has to end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from runner import log
from runner.errors import HostFault, LeaseLost, Misconfigured, RunnerError, Unavailable
from runner.lifecycle import causes
from runner.lifecycle.beside import Beside
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.claiming.line import NoCards
from runner.lifecycle.equipping import Equipping
from runner.lifecycle.gpus.cards import Use
from runner.lifecycle.gpus.failure import Findings, findings
from runner.lifecycle.homecoming import Homecoming
from runner.lifecycle.hooks.hooks import Barred
from runner.lifecycle.parts import Parts
from runner.lifecycle.preparation import Expired, Preparation
from runner.lifecycle.runs import exits, processes
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.last_words import last_words
from runner.lifecycle.runs.limits import allowed
from runner.lifecycle.runs.live_output import size_of
from runner.lifecycle.runs.processes import Left
from runner.lifecycle.runs.record import Phase
from runner.lifecycle.runs.run import Run
from runner.lifecycle.tally import Stage
from runner.model import Cause, Completed, Deferred, Failed, Outcome, Stopped

_log = log.get_logger(__name__)

#: Stops that end an attempt without its being the experiment's fault.
_NOT_A_FAILURE = frozenset({Cause.DRAINED, Cause.CANCELLED, Cause.LEASE_LOST, Cause.ORPHANED})
#: Failures of which this daemon, which ended it, knows more than its supervisor.
_OUR_WORD = frozenset({Cause.IDLE, Cause.OUT_OF_DISK, Cause.GPU_FAULT})


@dataclass(frozen=True)
class Attempt:
    """What belongs to one attempt; made for a fresh message and for an adopted run alike."""

    parts: Parts
    entry: Entry
    preparation: Preparation
    beside: Beside
    homecoming: Homecoming

    async def perform(self) -> Outcome:
        """Make ready, run and bring home."""
        return await self._told(self._performed)

    async def resume(self) -> Outcome:
        """Go on with a run that an earlier daemon started."""
        return await self._told(self._resumed)

    async def _told(self, story: Callable[[AsyncExitStack], Awaitable[Outcome]]) -> Outcome:
        """Return how it ended, whatever goes wrong in giving back what it has used."""
        outcome: Outcome | None = None
        try:
            async with AsyncExitStack() as stack:
                outcome = await story(stack)
        except Exception as error:
            if outcome is None:
                raise
            _log.error("not all given back", key=self.entry.record.key, exc_info=error)
        assert outcome is not None  # noqa: S101 - else it was raised
        return outcome

    async def _performed(self, stack: AsyncExitStack) -> Outcome:
        try:
            async with self.entry.stopper.cancels(), self.beside.listening():
                await self.parts.hooks.ask(self.parts, self.entry, self.preparation.request)
                spec = await self._equipping.ready(stack)
            if self.entry.stopper.cause is not None:
                return await self._without_run(self._stopped())
            use = self._use(stack)
            printed_before = size_of(self.entry.output)
            run = await Run.start(spec, self.parts.server)
        except NoCards as error:
            return Deferred(error.delay, str(error), Cause.NO_ROOM)
        except RunnerError as error:
            return await self._not_begun(error)
        self.entry.note(
            self.parts.records,
            phase=Phase.RUNNING,
            started_at=time.time(),
            printed_before=printed_before,
        )
        self.entry.begin(Stage.RUN)
        return await self._see_through(run, use)

    async def _resumed(self, stack: AsyncExitStack) -> Outcome:
        record = self.entry.record
        use = self._use(stack)
        try:
            run = await Run.adopt(self.parts.records.place(record.run))
        except RunnerError as error:
            self._equipping.give_back(await self._others(await processes.end(record.run)))
            return await self.homecoming.bring(_failed(error), ran=True)
        await self._pin(stack)
        begun = record.started_at or time.time()
        self.entry.begin(Stage.RUN, before=timedelta(seconds=max(0.0, time.time() - begun)))
        return await self._see_through(run, use)

    @property
    def _equipping(self) -> Equipping:
        return Equipping(self.parts, self.entry, self.preparation)

    async def _not_begun(self, error: RunnerError) -> Outcome:
        """What is not the experiment's doing costs it no attempt: nothing of it has run."""
        if isinstance(error, Unavailable) and not isinstance(error, LeaseLost):
            return Deferred(timedelta(0), str(error), causes.cause_of(Evidence(error=error)))
        is_machines = isinstance(error, HostFault | Misconfigured)
        return await self._without_run(unbegun(error) if is_machines else _failed(error))

    async def _without_run(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Deferred):  # by a hook: nothing is to be explained to anybody
            return outcome
        self._equipping.give_back()
        return await self.homecoming.bring(outcome, ran=False)

    def _use(self, stack: AsyncExitStack) -> Use:
        """Have what befalls its cards noted, until ``stack`` ends at the latest."""
        self.entry.ran_on = self.entry.record.allocation.gpus
        use = self.parts.cards.begin(self.entry.ran_on)
        stack.callback(self.parts.cards.end, use)
        return use

    async def _pin(self, stack: AsyncExitStack) -> None:
        key = self.entry.record.environment
        if key is None:
            return
        try:
            await stack.enter_async_context(self.parts.environments.pin(key))
        except RunnerError as error:  # the run has it in use all the same
            _log.warning("environment not kept", key=self.entry.record.key, trouble=str(error))

    async def _see_through(self, run: Run, use: Use) -> Outcome:
        now = time.time()
        started = self.entry.record.started_at or now
        self.entry.limit = allowed(self.preparation.limits(), started=started, now=now)
        self.entry.supervisor = run.supervisor
        try:
            exit_ = await self.beside.until_exit(run)
            # Not written: a run that has ended is known by its end, which its supervisor wrote.
            self.entry.record = self.entry.record.but(phase=Phase.FINISHING)
            found = await findings(self.parts, use, exit_, self.entry.output)
            self.parts.cards.end(use)
            self._equipping.give_back(await self._others(exit_.left))
            return await self.homecoming.bring(self._judge(exit_, found), ran=True)
        except Exception:
            # A defect of ours: what is settled now must not go on running behind it.
            if left := await run.end():
                self._equipping.give_back(left)
            raise
        finally:
            # Whether the run is over or the daemon leaves: the next one can adopt it.
            run.leave()

    async def _others(self, left: Sequence[Left]) -> Sequence[Left]:
        """End what is left of the user, where it is this experiment's alone; return who stays."""
        ours = await self.parts.users.end(self.entry.record.identity)
        return list(dict.fromkeys((*left, *ours)))

    def _judge(self, exit_: Exit, found: Findings) -> Outcome:
        cause = causes.cause_of(found.add_to(causes.evidence_of(exit_)))
        if cause is Cause.COMPLETED:
            return Completed()
        if cause in _NOT_A_FAILURE:
            return Stopped(cause, exit_.code, self.entry.stopper.detail)
        words = last_words(exit_, self.preparation.whole_limits())
        told = self.entry.stopper.detail if cause in _OUR_WORD else words
        outgrew = self.entry.outgrew and cause is exit_.stopped_for
        said = found.explain(told or words, cause)
        return Failed(
            cause,
            exit_.code,
            said,
            outgrew,
            at_once=exit_.is_restarted,
            unbegun=exit_.reason in exits.UNBEGUN,
        )

    def _stopped(self) -> Outcome:
        stopper = self.entry.stopper
        assert stopper.cause is not None  # noqa: S101 - asked before
        return Stopped(stopper.cause, None, stopper.detail)


def _failed(error: RunnerError) -> Outcome:
    if isinstance(error, Barred):
        return error.outcome
    if isinstance(error, Expired):
        return Failed(error.cause, None, str(error))
    return Failed(causes.cause_of(Evidence(error=error)), None, str(error))


def unbegun(error: RunnerError) -> Failed:
    """Return the failure of a machine on which nothing of the experiment has run."""
    return Failed(causes.cause_of(Evidence(error=error)), None, str(error), unbegun=True)
