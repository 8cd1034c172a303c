"""What every reporter promises: news arrives, secrets do not, and no experiment is failed."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from runner.model import Cause, News, Report
from runner.redaction import Redactor, Secret
from runner.reporters.base import Reporter

SECRET = "AKsecretSECRETsecret123"
#: Seconds for anything that must happen.
PATIENCE = 60.0


class ReporterContract:
    """Inherit, and supply ``reporter``, ``told`` and ``broken``."""

    pytestmark = pytest.mark.anyio

    #: News that this reporter keeps to itself by design.
    silent: frozenset[News] = frozenset()

    async def tell(self, reporter: Reporter, *reports: Report, patience: float = PATIENCE) -> None:
        """Send these while the reporter's sender runs, and wait until they are told."""
        async with anyio.create_task_group() as group:
            group.start_soon(reporter.run)
            for report in reports:
                await reporter.send(report)
            await reporter.flush(patience)
            group.cancel_scope.cancel()

    @pytest.fixture
    def redactor(self) -> Redactor:
        """Return a redactor that knows ``SECRET``; the backend's fixtures pass it on."""
        redactor = Redactor()
        redactor.add(Secret(SECRET))
        return redactor

    @pytest.fixture
    def reporter(self, redactor: Redactor) -> Reporter:
        """Return the reporter under test."""
        raise NotImplementedError

    @pytest.fixture
    def told(self) -> Callable[[], str]:
        """Return a function that gives all that has arrived where the reporter reports to."""
        raise NotImplementedError

    @pytest.fixture
    def broken(self, redactor: Redactor) -> Reporter:
        """Return a reporter whose place cannot be reached."""
        raise NotImplementedError

    async def test_the_reporter_has_a_name(self, reporter: Reporter) -> None:
        """The registry's name is on the object, for settings and for the log."""
        assert reporter.name

    @pytest.mark.parametrize("news", News)
    async def test_every_kind_of_news_arrives(
        self, reporter: Reporter, told: Callable[[], str], news: News
    ) -> None:
        """Whatever it is about, the sentence is told."""
        await self.tell(reporter, Report(news, "the third experiment moved"))
        assert ("the third experiment moved" in told()) is (news not in self.silent)

    @pytest.mark.parametrize("cause", Cause)
    async def test_an_ending_names_experiment_and_cause(
        self, reporter: Reporter, told: Callable[[], str], cause: Cause
    ) -> None:
        """Who reads it knows which experiment of which queue ended, and why."""
        report = Report(
            News.ENDED, "it ended", queue="local_q", key="exp-17", attempt=2, cause=cause
        )
        await self.tell(reporter, report)
        assert all(word in told() for word in ("local_q", "exp-17", cause.value))

    async def test_secrets_do_not_arrive(self, reporter: Reporter, told: Callable[[], str]) -> None:
        """A secret in the sentence, the key or a fact is masked, and the rest is readable."""
        facts = {"url": f"x?k={SECRET}"}
        report = Report(News.WARNING, f"denied for {SECRET}", key=SECRET, facts=facts)
        await self.tell(reporter, report)
        assert "denied for ***" in told()
        assert SECRET not in told()

    @pytest.mark.parametrize(
        "text",
        ["", "\x00\x1b[2J\r\n", "lone \udcff surrogate", "ü" * 100_000, "%s {x} <@U1> *b*"],
        ids=["empty", "control", "surrogate", "long", "markup"],
    )
    async def test_odd_text_is_no_error(
        self, reporter: Reporter, told: Callable[[], str], text: str
    ) -> None:
        """Text that came from a message is data: it arrives in some form, and the next does too."""
        odd = Report(News.WARNING, text, key=text, project=text)
        await self.tell(reporter, odd, Report(News.WARNING, "and then this"))
        assert "and then this" in told()

    async def test_facts_cannot_pose_as_the_reports_own_fields(
        self, reporter: Reporter, told: Callable[[], str]
    ) -> None:
        """A fact may have any name without breaking or replacing what is said beside it."""
        names = ("event", "level", "time", "host", "component", "key", "cause", "exc_info", "self")
        facts = dict.fromkeys(names, "posing")
        await self.tell(reporter, Report(News.ENDED, "it ended", key="exp-1", facts=facts))
        assert "it ended" in told()
        assert "exp-1" in told()

    async def test_a_place_that_cannot_be_reached_is_no_error(self, broken: Reporter) -> None:
        """The experiment goes on whether or not anybody hears of it."""
        await self.tell(broken, Report(News.ENDED, "nobody hears this"), patience=0.1)
