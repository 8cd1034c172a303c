"""The log as a reporter: one line per report."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from runner import log
from runner.model import Cause, News, Report
from runner.redaction import Redactor
from runner.reporters.base import Reporter
from runner.reporters.log import LogReporter
from tests.contracts.reporters import ReporterContract

pytestmark = pytest.mark.anyio


@pytest.fixture
def stream() -> io.StringIO:
    """Return what stands for standard error."""
    return io.StringIO()


class _Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


class LogFixtures:
    """The fixtures of the contract, for either form of the log."""

    form = "json"

    @pytest.fixture
    def reporter(self, redactor: Redactor, stream: io.StringIO) -> Reporter:
        """Log everything to a text in memory."""
        log.configure(level="debug", form=self.form, redactor=redactor, stream=stream)
        return LogReporter()

    @pytest.fixture
    def told(self, stream: io.StringIO) -> Callable[[], str]:
        """Return the log."""
        return stream.getvalue

    @pytest.fixture
    def broken(self, redactor: Redactor) -> Reporter:
        """Log into a pipe that nobody reads."""
        log.configure(level="debug", form=self.form, redactor=redactor, stream=_Closed())
        return LogReporter()


class TestLogReporterJson(LogFixtures, ReporterContract):
    """Lines for machines."""


class TestLogReporterText(LogFixtures, ReporterContract):
    """Lines for people."""

    form = "text"


async def send(report: Report) -> list[dict[str, object]]:
    """Send one report and return the lines it made."""
    stream = io.StringIO()
    log.configure(level="info", form="json", redactor=Redactor(), stream=stream)
    await LogReporter().send(report)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_report_is_one_line_with_its_fields() -> None:
    """What is known is bound by name; what is empty is left out."""
    (line,) = await send(
        Report(News.STARTED, "started\nwith two lines", queue="local_q", key="k", attempt=3)
    )
    assert line["event"] == "started\nwith two lines"
    assert (line["queue"], line["key"], line["attempt"]) == ("local_q", "k", 3)
    assert line["news"] == "started"
    assert line["component"] == "news"
    assert line.keys().isdisjoint({"cause", "project"})


@pytest.mark.parametrize(
    ("report", "level"),
    [
        (Report(News.ENDED, "x", cause=Cause.COMPLETED), "info"),
        (Report(News.ENDED, "x"), "info"),
        (Report(News.ENDED, "x", cause=Cause.EXIT), "warning"),
        (Report(News.WARNING, "x"), "warning"),
        (Report(News.NO_ROOM, "x"), "warning"),
        (Report(News.QUEUES_CHANGED, "x"), "info"),
    ],
)
async def test_bad_news_is_a_warning(report: Report, level: str) -> None:
    """An operator who reads warnings alone sees every experiment that did not complete."""
    (line,) = await send(report)
    assert line["level"] == level


async def test_facts_stand_beside_the_fields() -> None:
    """A fact keeps its name unless the line uses that name itself."""
    (line,) = await send(
        Report(News.ENDED, "it ended", key="k", facts={"seconds": "3", "key": "other", "time": "x"})
    )
    assert (line["seconds"], line["key"], line["fact_key"]) == ("3", "k", "other")
    assert line["fact_time"] == "x"
    assert line["time"] != "x"
