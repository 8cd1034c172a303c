"""Says how attempts go: in the history that status shows, and to the reporters."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio

from runner.lifecycle import causes
from runner.lifecycle.board import Entry
from runner.lifecycle.history import Ending
from runner.lifecycle.parts import Parts
from runner.lifecycle.responses import telling
from runner.lifecycle.runs.last_lines import last_lines
from runner.lifecycle.tally import SETTLED
from runner.lifecycle.verdict import WORDS
from runner.model import Disposition, News, Outcome, Release, Report, Result

#: Neither a slow disk nor a reporter may keep an ended experiment's room for longer.
_SECONDS = 5.0


def about(entry: Entry, news: News, text: str, **more: Any) -> Report:
    """Return a report of an attempt; ``more`` are further fields of it."""
    record = entry.record
    return Report(
        news,
        text,
        queue=record.message.queue,
        key=record.key,
        project=record.experiment_project,
        attempt=record.attempt,
        destination=entry.destination,
        **more,
    )


async def announce(
    parts: Parts,
    entry: Entry,
    outcome: Outcome,
    disposition: Disposition,
    *,
    kept: Path | None = None,
    seconds: float = _SECONDS,
) -> None:
    """Remember and report an attempt that was just settled; its news need not have its output.

    ``kept``: where its workspace will lie from now on.
    """
    _remember(parts, entry, outcome, disposition)
    telling.ended(parts, entry, outcome, disposition)
    output: tuple[str, ...] = ()
    with anyio.move_on_after(seconds):
        output = await last_lines(entry.output, parts.redactor)
    with anyio.move_on_after(seconds):
        await parts.report(_ended(entry, outcome, disposition, output, kept))


def _remember(parts: Parts, entry: Entry, outcome: Outcome, disposition: Disposition) -> None:
    record = entry.record
    parts.history.add(
        Ending(
            key=record.key or record.message.id,
            queue=record.message.queue,
            project=record.experiment_project,
            attempt=record.attempt,
            cause=outcome.cause.value,
            exit_code=outcome.exit_code,
            detail=parts.redactor.redact(outcome.detail),
            settled=SETTLED[type(disposition)],
            ended=time.time(),
            seconds=entry.seconds,
            advice=causes.advice(outcome.cause),
        )
    )


def _ended(
    entry: Entry,
    outcome: Outcome,
    disposition: Disposition,
    output: tuple[str, ...],
    kept: Path | None,
) -> Report:
    record = entry.record
    text = f"{record.key or record.message.id} ended: {outcome.cause.value}"
    if outcome.detail:
        text += f": {outcome.detail}"
    if isinstance(disposition, Release):
        text += f"; it comes back in {disposition.delay.total_seconds():.0f} s"
    if kept is not None:
        text += f"; its workspace is kept in {kept}"
    result = Result(
        outcome=WORDS[type(outcome)],
        settled=SETTLED[type(disposition)],
        detail=outcome.detail,
        advice=causes.advice(outcome.cause),
        exit_code=outcome.exit_code,
        seconds=entry.seconds,
        output=output,
    )
    return about(
        entry,
        News.ENDED,
        text,
        cause=outcome.cause,
        metrics=entry.metrics(),
        result=result,
        facts={
            "settled": result.settled,
            "seconds": f"{result.seconds:.3f}",
            "exit_code": "" if outcome.exit_code is None else str(outcome.exit_code),
            "advice": result.advice,
            **({"kept": str(kept)} if kept is not None else {}),
        },
    )
