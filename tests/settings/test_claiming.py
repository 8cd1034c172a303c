"""Turns, hours and bounds are read as people write them, and hours follow the clock on the wall."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from runner.app import claiming
from runner.errors import Misconfigured
from runner.settings import Settings
from runner.settings.hours import Hours, window

BERLIN = ZoneInfo("Europe/Berlin")
#: A Monday.
MONDAY = 2


def open_at(text: str, day: int, hour: int, minute: int = 0) -> bool:
    """Tell for a moment of the first week of March 2026."""
    moment = datetime(2026, 3, day, hour, minute, tzinfo=BERLIN).timestamp()
    return Hours((window(text),), BERLIN).are_open_at(moment)


@pytest.mark.parametrize(
    ("text", "day", "hour", "minute", "is_open"),
    [
        ("19:00-07:00", MONDAY, 18, 59, False),
        ("19:00-07:00", MONDAY, 19, 0, True),
        ("19:00-07:00", MONDAY, 6, 59, True),
        ("19:00-07:00", MONDAY, 7, 0, False),
        ("mon-fri 19:00-07:00", MONDAY, 6, 0, False),
        ("mon-fri 19:00-07:00", MONDAY + 5, 6, 59, True),
        ("mon-fri 19:00-07:00", MONDAY + 5, 19, 0, False),
        ("fri-mon 08:00-09:00", MONDAY, 8, 30, True),
        ("fri-mon 08:00-09:00", MONDAY + 1, 8, 30, False),
        ("sat 00:00-24:00", MONDAY + 5, 23, 59, True),
        ("sat 00:00-24:00", MONDAY + 6, 0, 0, False),
        ("SUN 9:00-10:00", MONDAY + 6, 9, 30, True),
    ],
)
def test_hours_are_those_on_the_wall(
    text: str, day: int, hour: int, minute: int, *, is_open: bool
) -> None:
    """A window that goes past midnight belongs to the day on which it begins."""
    assert open_at(text, day, hour, minute) is is_open


@pytest.mark.parametrize(
    ("day", "month"), [(29, 3), (25, 10)], ids=["clocks forward", "clocks back"]
)
def test_changed_clocks_change_no_edge(day: int, month: int) -> None:
    """On the two odd days of the year the window opens at 19:00 and closes at 07:00 as well."""
    hours = Hours((window("19:00-07:00"),), BERLIN)
    begin = datetime(2026, month, day - 1, 12, tzinfo=BERLIN).timestamp()
    edges = []
    was_open = False
    for minute in range(26 * 60):
        is_open = hours.are_open_at(begin + 60 * minute)
        if is_open != was_open:
            edges.append(datetime.fromtimestamp(begin + 60 * minute, BERLIN).strftime("%H:%M"))
        was_open = is_open
    assert edges == ["19:00", "07:00"]


@given(st.integers(0, 1439), st.integers(0, 1440), st.integers(0, 7 * 1440 - 1))
def test_a_window_is_open_for_as_long_as_it_says(begin: int, end: int, minute: int) -> None:
    """Every day alike, and never outside."""
    if begin == end:
        return
    found = window(f"{begin // 60}:{begin % 60:02}-{end // 60}:{end % 60:02}")
    length = sum(found.holds(3, m) for m in range(1440))
    assert length == (end - begin) % 1440 or (length, begin, end) == (1440, 0, 1440)
    assert found.holds(minute // 1440, minute % 1440) == found.holds(0, minute % 1440)


def test_without_hours_it_is_always_open() -> None:
    """Nobody has to say so."""
    assert Hours().are_open_at(0.0)
    assert claiming.rules(Settings.load([], {})).is_open_at is None


def test_rules_come_from_the_options() -> None:
    """The first pattern that is found counts; a queue that none knows has 0."""
    argv = ["--queue-priority", "^local_urgent=10", "--queue-priority", "urgent$=-5"]
    argv += ["--active-hours", "mon-fri 19:00-07:00", "--max-experiments", "3"]
    rules = claiming.rules(Settings.load(argv, {}))
    assert rules.priority("local_urgent") == 10
    assert rules.priority("not_urgent") == -5
    assert rules.priority("local_other") == 0
    assert rules.at_most == 3
    assert rules.hours == "mon-fri 19:00-07:00"
    assert rules.is_open_at is not None


def test_several_fit_into_one_variable() -> None:
    """Priorities are parted by white space, for a pattern may have commas; hours by commas."""
    rules = claiming.rules(
        Settings.load(
            [],
            {
                "QUEUE_PRIORITY": "^a{1,2}$=1 b=2",
                "ACTIVE_HOURS": "mon-fri 19:00-07:00, sat-sun 00:00-24:00",
            },
        )
    )
    assert [rules.priority(name) for name in ("aa", "b", "c")] == [1, 2, 0]
    assert rules.hours == "mon-fri 19:00-07:00, sat-sun 00:00-24:00"


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--queue-priority", "urgent"], "^local_urgent=10"),
        (["--queue-priority", "(=1"], "regular expression"),
        (["--queue-priority", "a=high"], "whole number"),
        (["--active-hours", "25:00-07:00"], "19:00-07:00"),
        (["--active-hours", "07:00-07:00"], "00:00-24:00"),
        (["--active-hours", "24:00-07:00"], "00:00-24:00"),
        (["--active-hours", "7-19"], "19:00-07:00"),
        (["--active-hours", "funday 07:00-19:00"], "mon-fri"),
        (["--active-hours", "xyz 07:00-19:00"], "mon-fri"),
        (["--active-hours", "07:60-19:00"], "19:00-07:00"),
        (["--max-experiments", "few"], "whole number"),
    ],
)
def test_what_is_none_is_refused_with_an_example(argv: list[str], word: str) -> None:
    """The sentence names the option, the value, and what is accepted."""
    with pytest.raises(Misconfigured) as caught:
        Settings.load(argv, {})
    for part in (argv[0], argv[1], word):
        assert part in str(caught.value)
