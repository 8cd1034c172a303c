"""The queue before a sender: bounded, and what matters most is dropped last. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from runner.model import News, Report

#: Far more than any reader follows, in a few megabytes at most.
MOST = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """A report on its way."""

    report: Report
    #: By a clock that nobody sets.
    posted_at: float

    @property
    def matters(self) -> bool:
        """Somebody waits for the end of an experiment, or has to mend what has a topic.

        All else is only nice to know.
        """
        return self.report.news is News.ENDED or bool(self.report.topic)


class Outbox:
    """First in, first out; when it is full the oldest that matters least makes room."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._letters: deque[Letter] = deque()

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter) -> int:
        """Add a letter; return how many were dropped for it."""
        dropped = 0
        while len(self._letters) >= self._most:
            self._letters.remove(next((x for x in self._letters if not x.matters), self.first))
            dropped += 1
        self._letters.append(letter)
        return dropped

    @property
    def first(self) -> Letter:
        """The letter whose turn it is; there must be one."""
        return self._letters[0]

    def take(self) -> Letter:
        """Remove the first letter and return it; there must be one."""
        return self._letters.popleft()
