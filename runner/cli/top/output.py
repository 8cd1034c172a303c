"""The last lines of a run's output, as a terminal may show them; pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from runner.cli.top.words import harmless

#: So many lines are kept.
KEPT = 2000
#: Characters of a line.
_LONGEST = 4096


@dataclass
class Output:
    """What is known of one output."""

    key: str = ""
    run: str = ""
    #: What is to be said of it.
    said: str = "asking for its output"
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    _open: str = ""
    #: How many lines below those that are shown there are; 0 follows the end.
    _up: int = 0

    def begin(self) -> None:
        """Forget what there is: it comes again, and its end is followed."""
        self._lines.clear()
        self._open, self._up = "", 0

    def add(self, text: str) -> None:
        """Take what comes next; a reader that has scrolled up goes on seeing the same lines."""
        *ended, rest = (self._open + text).split("\n")
        self._lines.extend(map(_last_state, ended))
        if self._up:
            more = len(ended) + bool(rest) - bool(self._open)
            self._up = min(self._up + more, KEPT)
        self._open = _last_state(rest)

    def scroll(self, up: int) -> None:
        """Go up, or down where negative."""
        self._up = max(0, min(self._up + up, len(self._all) - 1))

    def window(self, height: int) -> list[str]:
        """Return the lines to be shown."""
        lines = self._all
        self._up = min(self._up, max(0, len(lines) - height))
        last = len(lines) - self._up
        return [harmless(line) for line in lines[max(0, last - height) : last]]

    @property
    def _all(self) -> list[str]:
        return [*self._lines, *([self._open] if self._open else [])]


def _last_state(line: str) -> str:
    """Return the beginning of what a line shows; who draws over it, as a progress bar, never ends.

    A carriage return at its end may be that of the line's end.
    """
    body = line.rstrip("\r")
    shown = body.rpartition("\r")[2][:_LONGEST]
    return shown + "\r" if len(body) < len(line) else shown
