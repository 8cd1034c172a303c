"""Says how an attempt ended: in the history that status shows, and to the reporters."""

from __future__ import annotations

import time

import anyio

from runner.lifecycle import causes
from runner.lifecycle.board import Entry
from runner.lifecycle.history import Ending
from runner.lifecycle.parts import Parts
from runner.model import Ack, Bury, Disposition, News, Outcome, Release, Report

#: No reporter may keep an ended experiment's room for longer.
_SECONDS = 10.0
_SETTLED = {Ack: "acked", Release: "released", Bury: "buried"}


async def announce(parts: Parts, entry: Entry, outcome: Outcome, disposition: Disposition) -> None:
    """Remember and report an attempt that was just settled."""
    _remember(parts, entry, outcome, disposition)
    with anyio.move_on_after(_SECONDS):
        await parts.report(_report(entry, outcome, disposition))


def _remember(parts: Parts, entry: Entry, outcome: Outcome, disposition: Disposition) -> None:
    record, now = entry.record, time.time()
    parts.history.add(
        Ending(
            key=record.key or record.message.id,
            queue=record.message.queue,
            project=record.experiment_project,
            attempt=record.attempt,
            cause=outcome.cause.value,
            exit_code=outcome.exit_code,
            detail=parts.redactor.redact(outcome.detail),
            settled=_SETTLED[type(disposition)],
            ended=now,
            seconds=now - record.claimed_at,
        )
    )


def _report(entry: Entry, outcome: Outcome, disposition: Disposition) -> Report:
    record = entry.record
    text = f"{record.key or record.message.id} ended: {outcome.cause.value}"
    if outcome.detail:
        text += f": {outcome.detail}"
    if isinstance(disposition, Release):
        text += f"; it comes back in {disposition.delay.total_seconds():.0f} s"
    return Report(
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
