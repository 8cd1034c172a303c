"""The operator's rules about claiming: which queues come first, when, and how many at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Without any, everything is claimed at any hour, as far as the machine goes."""

    #: Searched for in queue names, the first that is found counts; else the priority is 0.
    priorities: tuple[tuple[re.Pattern[str], int], ...] = ()
    #: Tells of a moment, in seconds since the epoch, whether anything is claimed then.
    is_open_at: Callable[[float], bool] | None = None
    #: The hours, for people.
    hours: str = ""
    #: Experiments at a time; 0: as many as there is room for.
    at_most: int = 0
    #: Experiments that are claimed, fetched and built while their cards are busy; 0: none, and who
    #: is claimed has its cards from then on.
    staged: int = 0
    #: How long one of them waits for its cards once it is ready.
    staging_seconds: float = 1800.0

    def priority(self, queue: str) -> int:
        """Return the priority of the queue of this short name."""
        return next((number for pattern, number in self.priorities if pattern.search(queue)), 0)
