"""One attempt: make ready, run, bring home; returns an Outcome and settles nothing.

Being *cancelled* means that the daemon leaves: the run goes on, its record stays, and the next
daemon adopts it. Being *stopped* (``Stopper``) means that the experiment has to end.
"""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio

from runner import log
from runner.errors import RunnerError, StoreUnavailable
from runner.lifecycle import causes
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.checkpoints import Checkpoints, append_note
from runner.lifecycle.client_status import ClientStatus
from runner.lifecycle.disposition import RETRIED
from runner.lifecycle.exits import Exit
from runner.lifecycle.parts import Parts
from runner.lifecycle.preparation import Expired, Preparation
from runner.lifecycle.record import Phase
from runner.lifecycle.run import Run
from runner.lifecycle.workspace import Workspace
from runner.model import (
    Cause,
    Completed,
    Failed,
    News,
    Outcome,
    Report,
    Stopped,
)

_log = log.get_logger(__name__)

#: Stops that end an attempt without its being the experiment's fault.
_NOT_A_FAILURE = frozenset({Cause.DRAINED, Cause.CANCELLED, Cause.LEASE_LOST, Cause.ORPHANED})
_ENDED_BY_ITSELF = frozenset({Cause.COMPLETED, Cause.EXIT, Cause.SIGNAL})


@dataclass(frozen=True)
class Attempt:
    """What belongs to one attempt; made for a fresh message and for an adopted run alike."""

    parts: Parts
    entry: Entry
    workspace: Workspace
    preparation: Preparation
    checkpoints: Checkpoints
    status: ClientStatus

    async def perform(self) -> Outcome:
        """Make ready, run and bring home."""
        async with AsyncExitStack() as stack:
            try:
                async with self.entry.stopper.cancels():
                    spec = await self.preparation.prepare(stack)
                if self.entry.stopper.cause is not None:
                    return await self._bring_home(self._stopped())
                run = await Run.start(spec)
            except RunnerError as error:
                return await self._bring_home(_failed(error))
            self._record(Phase.RUNNING, started_at=time.time())
            return await self._see_through(run)

    async def resume(self) -> Outcome:
        """Go on with a run that an earlier daemon started."""
        record = self.entry.record
        async with AsyncExitStack() as stack:
            try:
                if record.environment is not None:
                    await stack.enter_async_context(self.parts.environments.pin(record.environment))
                run = await Run.adopt(self.parts.records.place(record.run))
            except RunnerError as error:
                return await self._bring_home(_failed(error))
            return await self._see_through(run)

    # ------------------------------------------------------------------ the run

    async def _see_through(self, run: Run) -> Outcome:
        self.entry.stage = "running"
        try:
            await self._say(News.STARTED, "is running")
            exit_ = await self._until_exit(run)
            self._record(Phase.FINISHING)
            return await self._bring_home(self._judge(exit_))
        finally:
            # Whether the run is over or the daemon leaves: the next one can adopt it.
            run.leave()

    async def _until_exit(self, run: Run) -> Exit:
        exits: list[Exit] = []
        async with anyio.create_task_group() as group:
            group.start_soon(self._show_as_running)
            async with anyio.create_task_group() as watchers:
                watchers.start_soon(self._stop_when_asked, run)
                watchers.start_soon(self._stop_when_the_client_says)
                watchers.start_soon(self.checkpoints.keep)
                exits.append(await run.wait())
                watchers.cancel_scope.cancel()
        return exits[0]

    async def _show_as_running(self) -> None:
        """Beside the run: it does not wait for its own status to be shown."""
        self._warn(await self.status.started())

    async def _stop_when_asked(self, run: Run) -> None:
        cause = await self.entry.stopper.wait()
        self._record(self.entry.record.phase, stop=cause)
        self.entry.stage = "stopping"
        await run.stop(cause)

    async def _stop_when_the_client_says(self) -> None:
        while True:
            await anyio.sleep(self.status.poll_seconds)
            if await self.status.is_stopped():
                self.entry.stopper.stop(Cause.CANCELLED, "its status was set to stopped")
                return

    def _judge(self, exit_: Exit) -> Outcome:
        cause = causes.cause_of(causes.evidence_of(exit_))
        if cause is Cause.COMPLETED:
            return Completed()
        if cause in _NOT_A_FAILURE:
            return Stopped(cause, exit_.code, self.entry.stopper.detail)
        return Failed(cause, exit_.code, _told(exit_))

    # ------------------------------------------------------------------ after the run

    async def _bring_home(self, outcome: Outcome) -> Outcome:
        """Store what there is; a result that cannot be stored is no result."""
        if outcome.cause is Cause.LEASE_LOST:
            return outcome
        self.entry.stage = "uploading"
        if outcome.cause is not Cause.COMPLETED:
            append_note(self.workspace.log, self._explanation(outcome))
        # A run that we ended may have been writing its result: half of one is none.
        is_result = outcome.cause in _ENDED_BY_ITSELF
        try:
            await self._store(is_result=is_result)
        except RunnerError as error:
            _log.error("results not stored", key=self.entry.record.key, trouble=str(error))
            return Failed(
                _cause_of_loss(error),
                outcome.exit_code,
                f"the results could not be stored: {error}",
            )
        for warning in self.preparation.artifacts.warnings:
            _log.warning("stored with a flaw", key=self.entry.record.key, flaw=warning)
        return outcome

    async def _store(self, *, is_result: bool) -> None:
        give_up = anyio.current_time() + self.parts.options.upload_patience.total_seconds()
        pause = 1.0
        while True:
            try:
                await self.checkpoints.last(result=is_result)
            except StoreUnavailable as error:
                if anyio.current_time() + pause > give_up:
                    raise
                _log.warning("upload tried again", pause=pause, trouble=str(error))
                await anyio.sleep(pause)
                pause = min(2 * pause, 60.0)
            else:
                return

    def _explanation(self, outcome: Outcome) -> str:
        said = f"studio-runner: {outcome.cause.value}"
        if outcome.detail:
            said += f": {outcome.detail}"
        return f"{said}\nstudio-runner: {causes.advice(outcome.cause)}\n"

    def _stopped(self) -> Outcome:
        stopper = self.entry.stopper
        assert stopper.cause is not None  # noqa: S101 - asked before
        return Stopped(stopper.cause, None, stopper.detail)

    def _record(self, phase: Phase, **changes: object) -> None:
        self.entry.record = self.entry.record.but(phase=phase, **changes)
        self.parts.records.write(self.entry.record)

    async def _say(self, news: News, text: str) -> None:
        record = self.entry.record
        await self.parts.report(
            Report(
                news,
                f"{record.key} {text}",
                queue=record.message.queue,
                key=record.key,
                project=record.experiment_project,
                attempt=record.attempt,
            )
        )

    def _warn(self, sentence: str) -> None:
        if sentence:
            append_note(self.workspace.log, f"studio-runner: {sentence}\n")


def _failed(error: RunnerError) -> Outcome:
    if isinstance(error, Expired):
        return Failed(error.cause, None, str(error))
    return Failed(causes.cause_of(Evidence(error=error)), None, str(error))


def _cause_of_loss(error: RunnerError) -> Cause:
    """A store that refuses the results refuses them next time too: no second run is paid for."""
    cause = causes.cause_of(Evidence(error=error))
    return cause if cause in RETRIED else Cause.RESULTS_DENIED


def _told(exit_: Exit) -> str:
    if exit_.detail:
        return exit_.detail
    if exit_.signal is not None:
        return f"it died of {_signal_name(exit_.signal)}"
    return f"it exited with {exit_.code}" if exit_.code else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
