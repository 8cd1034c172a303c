"""The client's notes and transfers, shown to the person at the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from runner.cli import show
from runner.cli.meter import Meter
from runner.client.telling import Progress, Telling

#: Seconds in which nobody is told of trouble twice: every object of a store that is away has it.
_OFTEN = 60.0


class Person(Telling):
    """Somebody who reads stderr."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._troubled = -math.inf

    def note(self, sentence: str) -> None:
        """Print a sentence."""
        show.note(sentence)

    def trouble(self, error: Exception) -> None:
        """Print the first in a while."""
        if self._clock() - self._troubled >= _OFTEN:
            self._troubled = self._clock()
            show.note(f"note: {error}; trying again")

    def progress(self, what: str) -> AbstractContextManager[Progress]:
        """Draw a bar, or lines in a pipe."""
        return Meter(what)


PERSON = Person()
