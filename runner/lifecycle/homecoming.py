"""Brings home what an attempt made: explained in its output, stored, and no half of it a result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from runner import log
from runner.errors import HostFault, OutOfDisk, RunnerError, StoreUnavailable
from runner.lifecycle import causes
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.checkpoints import Checkpoints, append_note
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.disposition import RETRIED
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.tally import Stage
from runner.model import Cause, Failed, Outcome, Stopped

_log = log.get_logger(__name__)

_ENDED_BY_ITSELF = frozenset({Cause.COMPLETED, Cause.EXIT, Cause.SIGNAL, Cause.GPU_OUT_OF_MEMORY})
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


@dataclass(frozen=True)
class Homecoming:
    """The way of one attempt's results into the store."""

    parts: Parts
    entry: Entry
    workspace: Workspace
    artifacts: Artifacts
    checkpoints: Checkpoints

    async def bring(self, outcome: Outcome, *, ran: bool) -> Outcome:
        """Store what there is; a result that cannot be stored is no result.

        Nothing is stored, nor begun to be, once the experiment is lost to another runner. Where
        nothing ``ran``, there is only an explanation to store, and no store is waited for. When it
        is too late, what is not stored is left: the next attempt goes on from what is.
        """
        stopper = self.entry.stopper
        if not stopper.is_lost and outcome.cause is not Cause.LEASE_LOST:
            self.entry.trail.failed(outcome)
            self.entry.begin(Stage.UPLOAD)
            brought: list[Outcome] = []
            async with stopper.cancels(storing=True):
                brought.append(await self._bring(outcome, ran=ran))
            if brought:
                return brought[0]
        if stopper.is_lost or outcome.cause is Cause.LEASE_LOST:
            return Stopped(Cause.LEASE_LOST, outcome.exit_code, stopper.detail or outcome.detail)
        return self._left(outcome)

    async def _bring(self, outcome: Outcome, *, ran: bool) -> Outcome:
        try:
            await self._store(outcome, ran=ran)
        except RunnerError as error:
            return self._loss(outcome, error)
        for warning in self.artifacts.warnings:
            _log.warning("stored with a flaw", key=self.entry.record.key, flaw=warning)
        return outcome

    def _left(self, outcome: Outcome) -> Outcome:
        said = "not all that it made could be stored before the machine is taken away"
        _log.warning("left behind", key=self.entry.record.key, what=said)
        if isinstance(outcome, Stopped):
            return replace(outcome, detail=f"{outcome.detail}; {said}" if outcome.detail else said)
        return Stopped(
            Cause.DRAINED, outcome.exit_code, f"it had ended: {_summary(outcome)}; {said}"
        )

    def _loss(self, outcome: Outcome, error: RunnerError) -> Outcome:
        if self.entry.stopper.is_lost:
            return Stopped(Cause.LEASE_LOST, outcome.exit_code, str(error))
        _log.error("results not stored", key=self.entry.record.key, trouble=str(error))
        if isinstance(outcome, Stopped):
            return outcome  # cancelled stays cancelled, and what was drained runs again anyway
        if isinstance(outcome, Failed) and outcome.unbegun:
            return outcome  # there was nothing but the explanation
        if isinstance(error, StoreUnavailable) and self.entry.stopper.is_hastened:
            return self._left(outcome)
        before = "" if outcome.cause is Cause.COMPLETED else f"{_summary(outcome)}; "
        return Failed(
            _cause_of_loss(error),
            outcome.exit_code,
            f"{before}the results could not be stored: {error}",
        )

    async def _store(self, outcome: Outcome, *, ran: bool) -> None:
        if not ran:
            await self.artifacts.fetch_output()
        if outcome.cause is not Cause.COMPLETED:
            self._explain(outcome)
        # A run that we ended may have been writing its result: half of one is none.
        is_result = outcome.cause in _ENDED_BY_ITSELF
        patience = self.parts.options.upload_patience.total_seconds() if ran else 0.0
        give_up, pause = anyio.current_time() + patience, _PAUSE
        # Whoever fills a disk is ended and caches give way: a whole result is worth the wait. What
        # was ended for the disk that it took would wait for itself.
        mends = (StoreUnavailable, OutOfDisk) if is_result else StoreUnavailable
        while True:
            try:
                stored = await self.checkpoints.last(
                    result=is_result, redact=self.parts.redactor.redact
                )
            except mends as error:
                is_late = anyio.current_time() + pause > give_up
                if is_late or not await self.entry.stopper.pause(pause):
                    raise
                self.entry.waits = _waiting_for(error)
                _log.warning("upload tried again", paused=pause, trouble=str(error))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.parts.tally.sent_bytes += sum(one.sent for one in stored.values())
                return

    def _explain(self, outcome: Outcome) -> None:
        advice = causes.advice(outcome.cause)
        said = self.parts.redactor.redact(_summary(outcome))
        text = f"studio-runner: {said}\nstudio-runner: {advice}\n"
        try:
            append_note(self.workspace.log, text, once=True)
        except HostFault as error:  # a full disk, say: what is there is stored all the same
            _log.warning("not explained", key=self.entry.record.key, trouble=str(error))


def _cause_of_loss(error: RunnerError) -> Cause:
    """A store that refuses the results refuses them next time too: no second run is paid for."""
    cause = causes.cause_of(Evidence(error=error))
    return cause if cause in RETRIED else Cause.RESULTS_DENIED


def _waiting_for(error: RunnerError) -> str:
    return "waiting for room" if isinstance(error, OutOfDisk) else "waiting for the store"


def _summary(outcome: Outcome) -> str:
    return f"{outcome.cause.value}: {outcome.detail}" if outcome.detail else outcome.cause.value
