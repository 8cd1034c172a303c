"""A real terminal for tests: a pty with a command in its foreground, and what stands on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pyte

from tests.acceptance.box import PATIENCE, until

WAYS_BACK = (b"\x1b[?1049l", b"\x1b[?25h")


class Window:
    """A terminal emulator's window; ``close`` ends what runs in it."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self._ours, theirs = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        #: Everything that was ever sent.
        self.sent = b""
        try:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            self.before = termios.tcgetattr(theirs)
            self.process = subprocess.Popen(
                ["/usr/bin/env", "setsid", "--ctty", *command],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env={"TERM": "xterm-256color", **environ},
            )
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def rows(self) -> list[str]:
        """What stands on the screen now."""
        self._read()
        return [row.rstrip() for row in self._screen.display]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.rows)

    @property
    def modes(self) -> list[Any]:
        """How the terminal treats keys now."""
        return termios.tcgetattr(self._ours)

    @property
    def is_left(self) -> bool:
        """The shell's screen and cursor are shown."""
        self._read()
        return all(self.sent.rfind(way) > self.sent.rfind(_opposite(way)) for way in WAYS_BACK)

    @property
    def is_given_back(self) -> bool:
        """They are, and keys are treated as before."""
        return self.is_left and self.modes == self.before

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Drag the window's corner."""
        self._screen.resize(lines, columns)
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    def reset(self) -> None:
        """Clear the screen, and have keys treated as before, as a shell does."""
        self._read()
        self._screen.reset()
        termios.tcsetattr(self._ours, termios.TCSANOW, self.before)

    def shows(self, *words: str) -> str:
        """Wait until one row has all these words; return that row."""

        def row() -> str | None:
            return next((r for r in self.rows if all(word in r for word in words)), None)

        return until(row, f"{words} on the screen", lambda: self.text)

    def hides(self, word: str) -> None:
        """Wait until a word is nowhere on the screen."""
        until(lambda: word not in self.text or None, f"no {word!r}", lambda: self.text)

    def ends(self) -> int:
        """Wait for the end of the command; return its status."""

        def ended() -> int | None:
            self._read()  # nobody ends who cannot write
            return self.process.poll()

        status = until(ended, "the end", lambda: self.text, PATIENCE)
        self._read()
        return status

    def _read(self) -> None:
        while select.select([self._ours], [], [], 0)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # nobody is at the other end any more
                return
            self.sent += data
            self._stream.feed(data)


def _opposite(way: bytes) -> bytes:
    return way[:-1] + (b"h" if way.endswith(b"l") else b"l")
