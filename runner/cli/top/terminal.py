"""Takes the terminal, and gives it back as it was on every way out."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.text import Text

from runner.cli.top.grid import fitted

_SMALLEST = 1
_USUAL = (80, 24)
_IN, _OUT = 0, 1


def can_be_drawn_on(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a person at a terminal whose cursor can be moved."""
    is_able = environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}
    return is_able and sys.stdin.isatty() and sys.stdout.isatty()


class Terminal:
    """The terminal that this process was started in."""

    def __init__(self) -> None:
        self._console = Console()
        self._before: list[Any] = []

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Draw on a screen of our own, and read keys as they are pressed, within the block."""
        self._before = termios.tcgetattr(_IN)
        try:
            self._take()
            yield
        finally:
            self._give_back()

    def pause(self) -> None:
        """Give it to the shell and stop, until the shell has us go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._before = termios.tcgetattr(_IN)
        self._take()

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
        """Replace what is seen. Raises OSError when nobody is there any more."""
        columns, rows = self._console.size = self.size
        shown = [fitted(line, columns) for line in lines[:rows]]
        self._console.update_screen_lines(
            [list(line.render(self._console, end="")) for line in shown]
        )

    async def keys(self) -> bytes:
        """Wait for keys; nothing: the terminal has gone."""
        from anyio import wait_readable  # noqa: PLC0415 - who prints once needs no loop

        await wait_readable(_IN)
        try:
            return os.read(_IN, 1024)
        except OSError:  # hung up
            return b""

    def _take(self) -> None:
        tty.setcbreak(_IN)
        self._console.set_alt_screen(enable=True)
        self._console.show_cursor(show=False)

    def _give_back(self) -> None:
        # The one must not be left out because the other is not possible any more.
        with suppress(OSError, termios.error):
            termios.tcsetattr(_IN, termios.TCSAFLUSH, self._before)
        with suppress(OSError):
            self._console.show_cursor(show=True)
            self._console.set_alt_screen(enable=False)
