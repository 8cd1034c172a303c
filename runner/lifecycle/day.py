"""How many experiments ended in each hour of the last day. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from runner.model import Cause

HOURS, _SECONDS = 24, 3600


@dataclass(slots=True)
class Hour:
    """One hour."""

    #: Seconds since the epoch.
    start: int
    completed: int = 0
    failed: int = 0
    #: Stopped or given back: to be run again, here or elsewhere, or wanted by nobody any more.
    other: int = 0


@dataclass(eq=False)
class Day:
    """The latest hours; what is older is forgotten."""

    _hours: dict[int, Hour] = field(default_factory=dict)

    def add(self, ended: float, cause: str, settled: str) -> None:
        """Count an ending: ``ended`` in seconds since the epoch, ``settled`` as in ``Ending``."""
        start = int(ended) // _SECONDS * _SECONDS
        hour = self._hours.setdefault(start, Hour(start))
        if cause == Cause.COMPLETED:
            hour.completed += 1
        elif settled == "released" or cause == Cause.CANCELLED:
            hour.other += 1
        else:
            hour.failed += 1
        for old in sorted(self._hours)[: -2 * HOURS]:
            del self._hours[old]

    def at(self, now: float) -> Iterable[Hour]:
        """Return the hours that end with the present one, oldest first, empty ones too."""
        last = int(now) // _SECONDS * _SECONDS
        starts = range(last - (HOURS - 1) * _SECONDS, last + 1, _SECONDS)
        return [self._hours.get(start) or Hour(start) for start in starts]
