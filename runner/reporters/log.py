"""News in the log: one structured line each."""

from __future__ import annotations

from runner import log
from runner.model import Cause, News, Report
from runner.reporters.base import Reporter

#: Names that the log or a call of it uses itself; such a fact is written as ``fact_<name>``.
_RESERVED = frozenset(
    {"component", "event", "exc_info", "exception", "host", "level", "self", "stack_info", "time"}
)
#: Somebody has to look after it.
_BAD = frozenset(
    {News.WARNING, News.QUEUE_SET_ASIDE, News.NO_ROOM, News.DISK_LOW}
    | {News.GPU_WITHHELD, News.GPU_IDLE, News.MACHINE_ENDING, News.FUSE_BLOWN}
)


class LogReporter(Reporter):
    """Writes each report through ``runner.log``, whose redactor it passes."""

    name = "log"

    def __init__(self) -> None:
        self._log = log.get_logger("runner.news")

    async def send(self, report: Report) -> None:
        """Write the line; what is bad news to somebody is a warning."""
        write = self._log.warning if _is_bad(report) else self._log.info
        write(_encodable(report.text), **_bound(report))


def _is_bad(report: Report) -> bool:
    ended_badly = report.news is News.ENDED and report.cause not in {None, Cause.COMPLETED}
    return ended_badly or report.news in _BAD


def _bound(report: Report) -> dict[str, str | int]:
    """Return what is known beside the sentence, without what is empty."""
    known = {
        "news": report.news.value,
        "queue": report.queue,
        "key": report.key,
        "project": report.project,
        "attempt": report.attempt,
        "cause": report.cause.value if report.cause else "",
    }
    bound = {name: value for name, value in known.items() if value}
    taken = _RESERVED | known.keys()
    for name, value in report.facts.items():
        bound[f"fact_{name}" if name in taken else _encodable(name)] = value
    return {
        name: _encodable(value) if isinstance(value, str) else value
        for name, value in bound.items()
    }


def _encodable(text: str) -> str:
    """Escape lone surrogates: no stream takes them, and the whole line would be lost."""
    return text.encode("utf-8", "backslashreplace").decode()
