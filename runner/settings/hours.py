"""The hours in which experiments are claimed: ``19:00-07:00``, ``mon-fri 19:00-07:00``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK = frozenset(range(7))
_DAY = 24 * 60
_FORM = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<begin>\d{1,2}:\d{2})-(?P<end>\d{1,2}:\d{2})"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of some days; those that go past midnight belong to the day they begin on."""

    #: Monday is 0.
    days: frozenset[int]
    #: Minutes since midnight; an end that is not after the beginning is the next day's.
    begin: int
    end: int
    #: As it was written.
    text: str

    def __str__(self) -> str:
        return self.text

    def holds(self, day: int, minute: int) -> bool:
        """Tell whether this minute of this weekday is inside."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        is_evening = day in self.days and minute >= self.begin
        return is_evening or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Hours:
    """Several windows; none at all is any time.

    What counts is what the clock on the wall shows, so that the days on which the clocks are
    changed need no rule: 19:00 is 19:00, and what happens twice is inside twice.
    """

    windows: tuple[Window, ...] = ()
    #: ``None``: the machine's own.
    zone: tzinfo | None = None

    def __str__(self) -> str:
        return ", ".join(map(str, self.windows))

    def are_open_at(self, moment: float) -> bool:
        """Tell of a moment, in seconds since the epoch."""
        shown = datetime.fromtimestamp(moment, UTC).astimezone(self.zone)
        minute = shown.hour * 60 + shown.minute
        holding = (window.holds(shown.weekday(), minute) for window in self.windows)
        return not self.windows or any(holding)


def window(text: str) -> Window:
    """Read one window. Raises ValueError."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("no hours")
    begin, end = _minute(found["begin"]), _minute(found["end"])
    if begin in {end, _DAY}:
        raise ValueError("they are empty: 00:00-24:00 is a whole day")
    days = _days(found["first"], found["last"]) if found["first"] else _WEEK
    return Window(days, begin, end, text.strip())


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    found = int(hour) * 60 + int(minute)
    if found > _DAY or int(minute) > 59:  # noqa: PLR2004 - minutes of an hour
        raise ValueError("no time of day")
    return found


def _days(first: str, last: str | None) -> frozenset[int]:
    """Return the days from first to last, over the week's end where it must be."""
    begin = _DAYS.index(first)
    count = (_DAYS.index(last or first) - begin) % 7 + 1
    return frozenset((begin + number) % 7 for number in range(count))
