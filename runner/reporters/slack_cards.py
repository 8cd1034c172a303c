"""Reports as messages of Slack: blocks for people, a plain sentence for notifications. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runner.model import News, Report, Result
from runner.reporters.slack_text import (
    FALLBACK,
    SECTION,
    Block,
    code,
    context,
    escaped,
    fields,
    section,
)

#: Metric values in one message.
_MOST_METRICS = 12
#: Characters of what takes part in a message; all of them together are less than MESSAGE.
_TITLE, _FACT, _METRIC, _DETAIL, _ADVICE = 300, 250, 80, 1500, 500
_HOST_MARKS: Mapping[News, str] = {
    News.RECOVERED: ":white_check_mark:",
    News.WARNING: ":warning:",
    News.NO_ROOM: ":warning:",
    News.DISK_LOW: ":warning:",
    News.QUEUE_SET_ASIDE: ":warning:",
    News.GPU_WITHHELD: ":warning:",
    News.GPU_IDLE: ":warning:",
    News.MACHINE_ENDING: ":warning:",
    News.FUSE_BLOWN: ":warning:",
}
_MARK = ":information_source:"
_ENDED: Mapping[str, str] = {
    "failed": "has failed",
    "stopped": "was stopped",
    "refused": "was refused",
    "deferred": "was given up",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One message."""

    #: Shown in notifications, and where blocks cannot be.
    text: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """How far an experiment has come besides what the report at hand says."""

    checkpoints: int = 0


def host_card(report: Report, host: str) -> Card:
    """Return the message about the daemon or its surroundings."""
    mark = _HOST_MARKS.get(report.news, _MARK)
    said = section(f"{mark} {escaped(report.text, SECTION - 100)}")
    about = " · ".join(escaped(text, 300) for text in (report.queue, report.key) if text)
    return Card(_fallback(f"{host}: {report.text}"), (said, context(escaped(host, 300), about)))


def experiment_card(report: Report, host: str, course: Course = Course()) -> Card:
    """Return the one message of an experiment, as it stands now."""
    mark, words = _standing(report)
    title = f"{mark} *{escaped(report.key or 'an experiment', _TITLE)}* {words}"
    result = report.result
    exit_code = result.exit_code if result else None
    table = fields(
        {
            "Project": report.project,
            "Queue": report.queue,
            "Attempt": str(report.attempt or ""),
            "Host": host,
            "Duration": spoken(result.seconds) if result else "",
            "Exit code": "" if exit_code is None else str(exit_code),
            "Checkpoints": str(course.checkpoints or ""),
        },
        _FACT,
    )
    blocks = [section(title), table, *_metrics(report)]
    if report.news is News.ENDED:
        blocks += _explanation(report)
    return Card(_fallback(report.text), tuple(blocks))


def details_card(report: Report) -> Card:
    """Return what stands below an experiment's message: its end, with the last of its output."""
    blocks = [section(escaped(report.text)), *_metrics(report), *_advice(report.result)]
    return Card(_fallback(report.text), (*blocks, *_output(report.result)))


def whole_card(report: Report, host: str) -> Card:
    """Return a result in one message, for where there are no threads."""
    card = experiment_card(report, host)
    return Card(card.text, (*card.blocks, *_output(report.result)))


def line_card(text: str) -> Card:
    """Return one sentence."""
    return Card(_fallback(text), (section(escaped(text)),))


def spoken(seconds: float) -> str:
    """Say a duration as people do: ``2 h 05 min``, ``3 min 20 s``, ``4.2 s``."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _standing(report: Report) -> tuple[str, str]:
    """Return a mark and the words after the experiment's name."""
    if report.news is not News.ENDED:
        return ":arrow_forward:", "is running"
    result, cause = report.result, report.cause.value if report.cause else ""
    outcome = result.outcome if result else ""
    if outcome == "completed":
        return ":white_check_mark:", "has completed"
    if result is not None and not result.is_final:
        return ":arrows_counterclockwise:", f"will be tried again ({cause})"
    words = _ENDED.get(outcome, "has ended")
    return ":x:" if outcome == "failed" else ":black_square_for_stop:", f"{words} ({cause})"


def _explanation(report: Report) -> list[Block]:
    detail = report.result.detail if report.result else report.text
    said = [section(escaped(detail, _DETAIL))] if detail else []
    return [*said, *_advice(report.result)]


def _advice(result: Result | None) -> list[Block]:
    if result is None or not result.advice or result.outcome == "completed":
        return []
    return [section(f"*What to do*: {escaped(result.advice, _ADVICE)}")]


def _metrics(report: Report) -> list[Block]:
    shown = list(report.metrics.items())[:_MOST_METRICS]
    if not shown:
        return []
    told = " · ".join(f"{escaped(name, _METRIC)} {value:.6g}" for name, value in shown)
    more = len(report.metrics) - len(shown)
    return [section(f"*Metrics*: {told}" + (f" · and {more} more" if more else ""))]


def _output(result: Result | None) -> list[Block]:
    text = code(result.output) if result else ""
    return [section(text)] if text else []


def _fallback(text: str) -> str:
    return escaped(text, FALLBACK) or "news without words"
