"""How long to wait after trouble: longer each time, never in step with others."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from runner.errors import QueueDenied, QueueUnavailable, RunnerError

TROUBLE_PAUSE, LONGEST_TROUBLE_PAUSE = 1.0, 60.0
#: A right that is missing is given by a person.
DENIED_PAUSE, LONGEST_DENIED_PAUSE = 60.0, 300.0


@dataclass(eq=False)
class Pauses:
    """The pauses between the attempts of one thing."""

    #: Between 0 and 1.
    chance: Callable[[], float] = random.random
    _next: float = 0.0
    _said: str = ""

    def after(self, error: RunnerError) -> float:
        """Return the seconds to wait now: up to a quarter more or less than was due."""
        is_denied = isinstance(error, QueueDenied)
        first, longest = (
            (DENIED_PAUSE, LONGEST_DENIED_PAUSE)
            if is_denied
            else (TROUBLE_PAUSE, LONGEST_TROUBLE_PAUSE)
        )
        pause = min(max(first, self._next), longest)
        self._next = min(2 * pause, longest)
        return pause * (0.75 + self.chance() / 2)

    def is_news(self, error: QueueUnavailable) -> bool:
        """Tell, and remember: a refusal is said once, until it has worked again."""
        said = f"{type(error).__name__}: {error}"
        is_new = said != self._said or not isinstance(error, QueueDenied)
        self._said = said
        return is_new

    def over(self) -> None:
        """Say that it works."""
        self._next, self._said = 0.0, ""
