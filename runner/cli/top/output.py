"""The last lines of a run's output, as a terminal may show them; pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from runner.cli.top.words import harmless

_KEPT = 2000
#: Of a line; what draws a progress bar over itself never ends one.
_LONGEST = 4096


@dataclass
class Output:
    """What is known of one output."""

    key: str = ""
    run: str = ""
    #: What is to be said of it.
    said: str = "asking for its output"
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _open: str = ""
    #: How many lines below those that are shown there are; 0 follows the end.
    _up: int = 0

    def begin(self) -> None:
        """Forget what there is: it comes again from its beginning."""
        self._lines.clear()
        self._open = ""

    def add(self, text: str) -> None:
        """Take what comes next; a reader that has scrolled up goes on seeing the same lines."""
        *ended, rest = (self._open + text).split("\n")
        self._lines.extend(line[-_LONGEST:] for line in ended)
        if self._up:
            more = len(ended) + bool(rest) - bool(self._open)
            self._up = min(self._up + more, _KEPT)
        self._open = rest[-_LONGEST:]

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
