"""A report as the JSON that a webhook gets; ``docs/news.md`` is its reference. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from runner.model import Report, Result

#: Raised when a field changes its meaning or goes; new fields may come at any time.
VERSION = 1
#: A receiver need not be ready for more: of a longer text the beginning is sent.
LONGEST_TEXT = 8000


def document(report: Report, *, id: str, host: str, at: datetime) -> dict[str, Any]:  # noqa: A002 - the field's name
    """Return the document of one event; ``id`` is the same for each try to deliver it."""
    return {
        "version": VERSION,
        "id": id,
        "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event": report.news.value,
        "text": _cut(report.text),
        "host": host,
        "topic": report.topic or None,
        "queue": _cut(report.queue) or None,
        "experiment": _experiment(report),
        "result": _result(report),
        "metrics": {name: value for name, value in report.metrics.items() if math.isfinite(value)},
        "facts": {name: _cut(value) for name, value in report.facts.items()},
    }


def _experiment(report: Report) -> dict[str, Any] | None:
    if not (report.key or report.project or report.attempt):
        return None
    return {
        "key": _cut(report.key),
        "project": _cut(report.project),
        "attempt": report.attempt,
    }


def _result(report: Report) -> dict[str, Any] | None:
    result = report.result or (Result("", "") if report.cause else None)
    if result is None:
        return None
    return {
        "outcome": result.outcome or None,
        "cause": report.cause.value if report.cause else None,
        "detail": _cut(result.detail),
        "advice": result.advice,
        "exit_code": result.exit_code,
        "seconds": round(result.seconds, 3),
        "settled": result.settled or None,
        "final": result.is_final,
        "output": [_cut(line) for line in result.output],
    }


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
