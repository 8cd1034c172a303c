"""Takes the terminal, and gives it back as it was on every way out."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from runner.cli.top.grid import fitted

_SMALLEST = 1
_USUAL = (80, 24)
_IN, _OUT = 0, 1
_LOCAL, _CHARACTERS = 3, 6


def can_be_drawn_on(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a person at a terminal whose cursor can be moved."""
    is_able = environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}
    return is_able and sys.stdin.isatty() and sys.stdout.isatty()


class Terminal:
    """The terminal that this process was started in."""

    def __init__(self) -> None:
        # Whether it is one was seen already; variables of the user's must not say otherwise.
        self._console = Console(force_terminal=True)
        self._before: list[Any] = []
        #: What stands on each line; of a screen of this size.
        self._drawn: list[list[Segment]] = []
        self._drawn_size = (0, 0)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Draw on a screen of our own, and read keys as they are pressed, within the block."""
        # Started in the background, this stops until the shell has us in front: before that the
        # modes are those in which the shell reads its own line.
        termios.tcflow(_IN, termios.TCOON)
        self._before = termios.tcgetattr(_IN)
        try:
            self.take(termios.TCSAFLUSH)  # nothing that was typed for somebody else
            yield
        finally:
            self._give_back()

    def pause(self) -> None:
        """Give it to the shell and stop, until the shell has us go on.

        Where no shell could ever do so, as behind ``ssh -t HOST studio-runner top``, go on at once.
        """
        self._give_back()
        heeded = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread, so that it stops here; unlike SIGSTOP the kernel drops it where nobody is
        # left who could wake us.
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, heeded)
        self.take()

    def take(self, when: int = termios.TCSADRAIN) -> None:
        """Take it, from whoever had it last."""
        termios.tcsetattr(_IN, when, _key_by_key(self._before))
        self._console.set_alt_screen(enable=True)
        self._console.show_cursor(show=False)
        self.forget()

    def forget(self) -> None:
        """Draw all of it the next time: something else may stand there."""
        self._drawn = []

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        try:
            columns, rows = os.get_terminal_size(_OUT)
        except OSError:
            return _USUAL
        # One of a serial line knows of no size.
        return (columns, rows) if min(columns, rows) >= _SMALLEST else _USUAL

    def draw(self, lines: Sequence[Text]) -> None:
        """Replace what is seen, where it differs. Raises OSError when nobody is there any more."""
        size = self.size
        if size != self._drawn_size:
            self._drawn_size = self._console.size = size
            self.forget()
        columns, rows = size
        shown = [self._rendered(line, columns) for line in lines[:rows]]
        with self._console:  # one write
            for place, line in enumerate(shown):
                if line not in self._drawn[place : place + 1]:
                    self._console.update_screen_lines([line], y=place)
        self._drawn = shown

    def _rendered(self, line: Text, columns: int) -> list[Segment]:
        # What the terminal has no character for becomes narrower: so before it is fitted.
        copy, encoding = line.copy(), self._console.encoding
        copy.plain = line.plain.encode(encoding, "replace").decode(encoding)
        return list(fitted(copy, columns).render(self._console, end=""))

    async def keys(self) -> bytes:
        """Wait for keys; nothing: the terminal has gone."""
        from anyio import wait_readable  # noqa: PLC0415 - who prints once needs no loop

        await wait_readable(_IN)
        try:
            return os.read(_IN, 1024)
        except OSError:  # hung up
            return b""

    def _give_back(self) -> None:
        # The one must not be left out because the other is not possible any more.
        with suppress(OSError, termios.error):
            termios.tcsetattr(_IN, termios.TCSAFLUSH, self._before)
        with suppress(OSError):
            self._console.show_cursor(show=True)
            self._console.set_alt_screen(enable=False)


def _key_by_key(modes: list[Any]) -> list[Any]:
    """Return the modes in which keys come one by one, and are not shown."""
    changed = [*modes]
    changed[_LOCAL] &= ~(termios.ECHO | termios.ICANON)
    changed[_CHARACTERS] = [*modes[_CHARACTERS]]
    changed[_CHARACTERS][termios.VMIN], changed[_CHARACTERS][termios.VTIME] = 1, 0
    return changed
