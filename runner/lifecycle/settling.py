"""The one place where a delivery is settled, its news sent and its traces removed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from runner import log
from runner.errors import RunnerError
from runner.lifecycle import causes
from runner.lifecycle.board import Entry
from runner.lifecycle.claim import Claim
from runner.lifecycle.disposition import counts, dispose
from runner.lifecycle.history import Ending
from runner.lifecycle.keeper import Held
from runner.lifecycle.making import status_for
from runner.lifecycle.parts import Parts
from runner.lifecycle.workspace import Workspace
from runner.model import (
    Ack,
    Bury,
    Cause,
    Disposition,
    News,
    Outcome,
    Release,
    Report,
    Request,
)
from runner.queues.base import Delivery

_log = log.get_logger(__name__)

#: Settling has this long, whatever happens around it; after that the lease decides.
_SECONDS = 30.0
_SETTLED = {Ack: "acked", Release: "released", Bury: "buried"}


@dataclass(frozen=True)
class Settlement:
    """Settles one delivery: the claim record, then the broker; then reports and cleans up.

    Everything worth keeping is stored before. A crash between two steps repeats work and loses
    nothing: the claim record tells the next daemon how far we came.
    """

    parts: Parts
    entry: Entry
    delivery: Delivery
    #: ``None`` for a message that could not be decoded.
    request: Request | None
    #: ``None`` when the experiment was never ours.
    claim: Claim | None

    async def settle(self, outcome: Outcome, held: Sequence[Held]) -> None:
        """Settle exactly once; ``held`` are the promises that are kept until then."""
        disposition = self._disposition(outcome)
        with anyio.move_on_after(_SECONDS, shield=True) as scope:
            for promise in held:
                await self.parts.keeper.release(promise)
            async with anyio.create_task_group() as group:
                group.start_soon(self._tell_the_client, disposition)
                group.start_soon(self._settle_claim, outcome, disposition)
            await self._settle_delivery(disposition)
        if scope.cancelled_caught:
            _log.warning("settling took too long, the lease decides", key=self.entry.record.key)
        self._remember(outcome, disposition)
        await self._report(outcome, disposition)
        await self._clean_up()

    def _disposition(self, outcome: Outcome) -> Disposition:
        policy, received = self.parts.options.retry, self.delivery.message.receive_count
        if self.request is not None:
            policy = policy.wished(self.request.retry_on, self.request.max_attempts)
        before = self.claim.counted if self.claim else received - 1
        return dispose(
            outcome, attempt=before + counts(outcome), policy=policy, receive_count=received
        )

    async def _tell_the_client(self, disposition: Disposition) -> None:
        if self.request is None or self.claim is None or isinstance(disposition, Release):
            return
        warning = await status_for(self.parts, self.request, self.entry).finished()
        if warning:
            _log.warning("client status", key=self.entry.record.key, trouble=warning)

    async def _settle_claim(self, outcome: Outcome, disposition: Disposition) -> None:
        claim = self.claim
        if claim is None or outcome.cause is Cause.LEASE_LOST:
            return

        async def write() -> None:
            if isinstance(disposition, Release):
                await claim.release(outcome.cause, counted=counts(outcome))
            else:
                await claim.finish(outcome, buried=isinstance(disposition, Bury))

        try:
            await self.parts.keeper.run(write)
        except RunnerError as error:
            _log.warning("claim record not written", key=self.entry.record.key, trouble=str(error))

    async def _settle_delivery(self, disposition: Disposition) -> None:
        async def tell() -> None:
            match disposition:
                case Ack():
                    await self.delivery.ack()
                case Release(delay):
                    await self.delivery.release(delay)
                case Bury(reason):
                    await self.delivery.bury(self.parts.redactor.redact(reason))

        try:
            await self.parts.keeper.run(tell)
        except RunnerError as error:
            _log.warning("message not settled", key=self.entry.record.key, trouble=str(error))

    def _remember(self, outcome: Outcome, disposition: Disposition) -> None:
        record, now = self.entry.record, time.time()
        self.parts.history.add(
            Ending(
                key=record.key,
                queue=record.message.queue,
                project=record.experiment_project,
                attempt=record.attempt,
                cause=outcome.cause.value,
                exit_code=outcome.exit_code,
                detail=self.parts.redactor.redact(outcome.detail),
                settled=_SETTLED[type(disposition)],
                ended=now,
                seconds=now - record.claimed_at,
            )
        )

    async def _report(self, outcome: Outcome, disposition: Disposition) -> None:
        record = self.entry.record
        text = f"{record.key or record.message.id} ended: {outcome.cause.value}"
        if outcome.detail:
            text += f": {outcome.detail}"
        if isinstance(disposition, Release):
            text += f"; it comes back in {disposition.delay.total_seconds():.0f} s"
        await self.parts.report(
            Report(
                News.ENDED,
                text,
                queue=record.message.queue,
                key=record.key,
                project=record.experiment_project,
                attempt=record.attempt,
                cause=outcome.cause,
                facts={
                    "settled": _SETTLED[type(disposition)],
                    "seconds": f"{time.time() - record.claimed_at:.3f}",
                    "exit_code": "" if outcome.exit_code is None else str(outcome.exit_code),
                    "advice": causes.advice(outcome.cause),
                },
            )
        )

    async def _clean_up(self) -> None:
        record = self.entry.record
        if record.workspace is not None and not self.parts.options.keep_workspaces:
            try:
                await Workspace(record.workspace).remove()
            except RunnerError as error:
                _log.warning("workspace not removed", trouble=str(error))
        self.parts.records.remove(record.run)
        self.parts.board.leave(record.run)
