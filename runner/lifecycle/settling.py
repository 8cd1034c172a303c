"""The one place where a delivery is settled, its news sent and its traces removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from runner import log
from runner.errors import (
    HostFault,
    LeaseLost,
    MessageGone,
    QueueGone,
    RunnerError,
    Unavailable,
)
from runner.lifecycle.aftermath import Aftermath
from runner.lifecycle.announcing import announce
from runner.lifecycle.board import Entry
from runner.lifecycle.disposition import NO_DELAY, RetryPolicy, counts, dispose
from runner.lifecycle.fuses.fuse import Sign
from runner.lifecycle.making import status_for
from runner.lifecycle.ownership.claim import Claim
from runner.lifecycle.ownership.keeper import Held
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.last_lines import last_lines
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.verdict import verdict
from runner.model import (
    Ack,
    Bury,
    Cause,
    Completed,
    Deferred,
    Disposition,
    News,
    Outcome,
    Release,
    Report,
    Request,
    Stopped,
)
from runner.queues.base import Delivery

_log = log.get_logger(__name__)

#: One try at a store or a broker has this long.
_SECONDS = 30.0
#: A broker that does not answer is asked for this long; after that the lease decides.
_BROKER_PATIENCE = 60.0
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
#: A disk that does not give the end of an output by then does not keep the room of an ended run.
_LINES_SECONDS = 5.0


@dataclass(frozen=True)
class Settlement:
    """Settles one delivery: the claim record, then the broker; then reports and cleans up.

    Everything worth keeping is stored before. A crash between two steps repeats work and loses
    nothing: the claim record tells the next daemon how far we came. Being cancelled between two
    tries is such a crash; a try that was begun is seen to its end.
    """

    parts: Parts
    entry: Entry
    delivery: Delivery
    #: ``None`` for a message that could not be decoded.
    request: Request | None
    #: ``None`` when the experiment was never ours.
    claim: Claim | None
    #: What was decided before, without the broker's being told: the claim record has ended already.
    decided: Disposition | None = None

    async def settle(self, outcome: Outcome, held: Sequence[Held]) -> Outcome:
        """Settle exactly once, and return what it was settled as.

        ``held`` are the promises that are kept until then.
        """
        outcome = await self._of_whom_it_is(outcome)
        disposition = await self._settle_claim(outcome, self.decided or self._disposition(outcome))
        with anyio.CancelScope(shield=True):
            for promise in held:
                await self.parts.keeper.release(promise)
        disposition = await self._settle_delivery(disposition)
        self._count(outcome, disposition)
        aftermath = Aftermath(self.parts, self.entry, outcome, disposition)
        with anyio.CancelScope(shield=True):
            await announce(self.parts, self.entry, outcome, disposition, kept=aftermath.kept)
            await self.parts.records.remove(self.entry.record.run)
        await aftermath.see_to(self.request if self.claim is not None else None)
        await self._clean_up()
        return outcome

    async def _of_whom_it_is(self, outcome: Outcome) -> Outcome:
        """Nobody is told how an experiment ended that became another's while this machine slept."""
        claim = self.claim
        if claim is None or claim.is_fresh or outcome.cause is Cause.CANCELLED:
            return outcome

        async def step() -> None:
            await self.parts.keeper.run(claim.confirm)

        error = await self._once(step)
        if not isinstance(error, LeaseLost):
            return outcome
        return Stopped(Cause.LEASE_LOST, outcome.exit_code, self.parts.redactor.redact(str(error)))

    def _count(self, outcome: Outcome, disposition: Disposition) -> None:
        tally, record = self.parts.tally, self.entry.record
        self.entry.trail.settled(outcome, disposition)
        place = tally.place(record.broker, record.message.queue, record.experiment_project)
        tally.end(place, outcome.cause, disposition)
        tally.fetched_bytes += self.entry.progress.read
        if not isinstance(outcome, Deferred):  # the world's doing: it did not even begin
            whose = (record.broker, record.project, record.experiment_project)
            self.parts.fuse.ended(Sign(outcome.cause, record.key, whose, self.entry.ran_on))

    @property
    def _policy(self) -> RetryPolicy:
        policy, request = self.parts.options.retry, self.request
        return policy if request is None else policy.of(request)

    def _disposition(self, outcome: Outcome) -> Disposition:
        received = self.delivery.message.receive_count
        before = self.claim.counted if self.claim else received - 1
        return dispose(
            outcome,
            attempt=before + counts(outcome),
            policy=self._policy,
            receive_count=received,
            tries=self.claim.attempt if self.claim else 0,
        )

    # ------------------------------------------------------------------ the claim record

    async def _settle_claim(self, outcome: Outcome, disposition: Disposition) -> Disposition:
        """Tell the client, then end the claim record; return what the broker is to be told.

        In this order: whoever reads in the record that all is over finds it so.
        """
        await self._tell_the_client(outcome, disposition)
        error = await self._write_claim(outcome, disposition)
        # A daemon that is to leave leaves here: the next one reads in the record what to do.
        await anyio.lowlevel.checkpoint()
        if error is None:
            return disposition
        _log.warning("claim record not written", key=self.entry.record.key, trouble=str(error))
        return self._without_record(outcome, disposition, error)

    async def _write_claim(self, outcome: Outcome, disposition: Disposition) -> RunnerError | None:
        claim = self.claim
        if claim is None:
            return None

        async def write() -> None:
            if isinstance(disposition, Release):
                await claim.release(outcome.cause, counted=counts(outcome))
            else:
                await claim.finish(outcome, buried=isinstance(disposition, Bury))

        async def step() -> None:
            await self.parts.keeper.run(write)

        if outcome.cause is Cause.LEASE_LOST:
            await self._once(step)  # only the message may be lost; else it says so, and rightly
            return None
        return await self._insist(step, self.parts.options.upload_patience.total_seconds())

    def _without_record(
        self, outcome: Outcome, disposition: Disposition, error: RunnerError
    ) -> Disposition:
        """An end that nobody can read has not happened: who gets the message next looks again."""
        may_be_another = isinstance(error, Unavailable)
        if not isinstance(disposition, Ack) or not may_be_another:
            return disposition
        if outcome.cause is Cause.CANCELLED:
            return disposition
        return Release(NO_DELAY if isinstance(error, LeaseLost) else self._policy.base_delay)

    async def _tell_the_client(self, outcome: Outcome, disposition: Disposition) -> None:
        is_ours = self.claim is not None or self.decided is not None
        is_over = not isinstance(disposition, Release) and outcome.cause is not Cause.LEASE_LOST
        request = self.request
        if request is None or not is_ours or not is_over:
            return
        warnings: list[str] = []
        told = await self._verdict(outcome)

        async def tell() -> None:
            status = status_for(self.parts, request, self.entry)
            warnings.append(await status.finished(told))

        error = await self._once(tell)
        trouble = str(error or "".join(warnings))
        if trouble:
            _log.warning("client status", key=self.entry.record.key, trouble=trouble)

    async def _verdict(self, outcome: Outcome) -> dict[str, object]:
        # What went well is told without them.
        lines = () if isinstance(outcome, Completed) else await self._last_lines()
        attempt = self.entry.record.attempt
        return verdict(outcome, attempt=attempt, host=self.parts.host, last_lines=lines)

    # ------------------------------------------------------------------ the broker

    async def _settle_delivery(self, disposition: Disposition) -> Disposition:
        """Tell the broker, and return what it was told in the end."""
        if isinstance(disposition, Bury):
            disposition = Bury(await self._epitaph(disposition.reason))
        error = await self._tell_the_broker(disposition)
        if isinstance(error, HostFault) and isinstance(disposition, Bury):
            # No place to keep it: somebody may make one, and until then nothing is forgotten.
            disposition = Release(self._policy.longest_delay)
            await self._warn(f"it cannot be buried, so it goes back to its queue: {error}")
            error = await self._tell_the_broker(disposition)
        if isinstance(error, MessageGone | QueueGone):
            _log.info("its message is gone", key=self.entry.record.key, said=str(error))
        elif error is not None:
            _log.warning("message not settled", key=self.entry.record.key, trouble=str(error))
            return disposition
        if isinstance(disposition, Bury):
            await self._note_burial()
        return disposition

    async def _epitaph(self, reason: str) -> str:
        """Return the reason, and the end of what the experiment printed: all that is at hand."""
        lines = await self._last_lines()
        return "\n".join((reason, "", "last output:", *lines)) if lines else reason

    async def _last_lines(self) -> Sequence[str]:
        with anyio.move_on_after(_LINES_SECONDS, shield=True):
            return await last_lines(self.entry.output, self.parts.redactor)
        return ()

    async def _note_burial(self) -> None:
        claim = self.claim
        if claim is None:
            return

        async def step() -> None:
            await self.parts.keeper.run(claim.note_burial)

        if error := await self._insist(step, _BROKER_PATIENCE):
            _log.warning("burial not recorded", key=self.entry.record.key, trouble=str(error))

    async def _tell_the_broker(self, disposition: Disposition) -> RunnerError | None:
        async def tell() -> None:
            match disposition:
                case Ack():
                    await self.delivery.ack()
                case Release(delay):
                    await self.delivery.release(delay)
                case Bury(reason):
                    await self.delivery.bury(self.parts.redactor.redact(reason))

        async def step() -> None:
            await self.parts.keeper.run(tell)

        return await self._insist(step, _BROKER_PATIENCE)

    async def _warn(self, text: str) -> None:
        record = self.entry.record
        said = self.parts.redactor.redact(f"{record.key or record.message.id}: {text}")
        _log.error(said)
        with anyio.move_on_after(_SECONDS, shield=True):
            await self.parts.report(
                Report(News.WARNING, said, queue=record.message.queue, key=record.key)
            )

    # ------------------------------------------------------------------ tries

    async def _insist(
        self, step: Callable[[], Awaitable[None]], patience: float
    ) -> RunnerError | None:
        """Try until it is done or refused; return what kept it from being done."""
        give_up, pause = anyio.current_time() + patience, _PAUSE
        while True:
            error = await self._once(step)
            if not isinstance(error, Unavailable) or isinstance(error, LeaseLost | QueueGone):
                return error
            is_late = anyio.current_time() + pause > give_up
            if is_late or self.entry.stopper.is_lost or not await self.entry.stopper.pause(pause):
                return error
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _once(self, step: Callable[[], Awaitable[None]]) -> RunnerError | None:
        seconds = min(_SECONDS, self.entry.stopper.longest_try)
        try:
            with anyio.CancelScope(shield=True), anyio.fail_after(seconds):
                await step()
        except TimeoutError:
            return Unavailable(f"no answer within {seconds:.0f} s")
        except RunnerError as error:
            return error
        except Exception as error:  # noqa: BLE001 - it must cost neither what follows nor others
            key = self.entry.record.key
            _log.error("a defect of the runner while settling", key=key, exc_info=error)
            return RunnerError(f"{type(error).__name__}: {error}")
        return None

    async def _clean_up(self) -> None:
        """Remove the workspace; when we are cancelled the next daemon does, it has no record.

        And so it does where there is no time for that.
        """
        record = self.entry.record
        if record.workspace is not None and not self.parts.options.keep_workspaces:
            try:
                with anyio.move_on_after(self.entry.stopper.longest_try):
                    await Workspace(record.workspace).remove()
            except RunnerError as error:
                _log.warning("workspace not removed", trouble=str(error))
        self.parts.board.leave(record.run)
