"""The client's notes and transfers, shown to the person at the terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager

from runner.cli import show
from runner.cli.meter import Meter
from runner.client.telling import Progress, Telling


class Person(Telling):
    """Somebody who reads stderr."""

    def note(self, sentence: str) -> None:
        """Print a sentence."""
        show.note(sentence)

    def progress(self, what: str) -> AbstractContextManager[Progress]:
        """Draw a bar, or lines in a pipe."""
        return Meter(what)


PERSON = Person()
