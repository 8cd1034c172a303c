"""Which reporters the settings ask for."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from runner.app import reporting
from runner.errors import Misconfigured
from runner.model import News, Report
from runner.redaction import Redactor
from runner.reporters.base import Reporter
from runner.settings import Settings


class Collecting(Reporter):
    """Remembers what it was told, and can fail."""

    name = "collecting"

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[str] = []
        self.flushed: list[float] = []
        self._error = error

    async def send(self, report: Report) -> None:
        """Remember it."""
        if self._error:
            raise self._error
        self.told.append(report.text)

    async def flush(self, seconds: float) -> None:
        """Remember how long was to be waited."""
        self.flushed.append(seconds)

    async def run(self) -> None:
        """Fail, if it is to."""
        if self._error:
            raise self._error


def names(tmp_path: Path, *argv: str) -> list[str]:
    """Return the names of the reporters for a command line."""
    settings = Settings.load(argv, {})
    return [one.name for one in reporting.reporters_for(settings, Redactor(), tmp_path / "memory")]


def test_the_settings_say_where_news_goes(tmp_path: Path) -> None:
    """The log always; Slack and the webhook where they are named."""
    assert names(tmp_path) == ["log"]
    assert names(tmp_path, "--webhook", "https://x/y") == ["log", "webhook"]
    assert names(tmp_path, "--slack-hook", "https://x/y") == ["log", "slack"]
    assert names(tmp_path, "--slack-token", "xoxb-1", "--slack-room", "#lab") == ["log", "slack"]
    assert names(tmp_path, "--slack-room", "#lab") == ["log"]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--slack-token", "xoxb-1"], "no --slack-room"),
        (["--slack-hook", "hooks.example/T0/SECRET"], "--slack-hook is no address"),
        (["--slack-hook", "https://x/a b/SECRET"], "--slack-hook is no address"),
        (["--slack-hook", "https://[SECRET"], "--slack-hook is no address"),
        (["--slack-hook", "https:///services/SECRET"], "--slack-hook is no address"),
        (["--webhook", "https://x/SECRET\N{EN DASH}1"], "--webhook is no address"),
        (["--webhook", "ftp://SECRET"], "--webhook is no address"),
        (["--slack-token", "SECRET", "--slack-room", "x", "--slack-api", "x"], "--slack-api is no"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(
    tmp_path: Path, argv: list[str], sentence: str
) -> None:
    """In one sentence, which names the option and not what may be secret."""
    with pytest.raises(Misconfigured, match=sentence) as caught:
        names(tmp_path, *argv)
    assert "SECRET" not in str(caught.value)


@pytest.mark.anyio
async def test_a_reporter_that_fails_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    """News may cost nobody an experiment, and no other reporter its news."""
    collecting = Collecting()
    more = [Collecting(ValueError("a defect")), collecting]
    settings = Settings.load([], {})
    with anyio.fail_after(60):
        async with reporting.opened(settings, Redactor(), tmp_path / "m", more) as report:
            await report(Report(News.WARNING, "told"))
    assert collecting.told == ["told"]


@pytest.mark.anyio
@pytest.mark.parametrize(("facts", "longest"), [({}, 3), (reporting.IN_HASTE, 1)])
async def test_a_daemon_that_leaves_its_runs_waits_less_for_its_last_words(
    tmp_path: Path, facts: dict[str, str], longest: float
) -> None:
    """It has promised to be gone within two seconds; one that was drained has a little more."""
    collecting = Collecting()
    settings = Settings.load([], {})
    async with reporting.opened(settings, Redactor(), tmp_path / "m", [collecting]) as report:
        await report(Report(News.DAEMON_STOPPED, "it has ended", facts=facts))
    assert collecting.flushed == [longest]
