"""The end of a run's output for who asks again and again: redacted, from where he left off."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from runner.lifecycle.board import Board, Entry
from runner.lifecycle.runs.live_output import LiveOutput, size_of
from runner.redaction import Redactor

#: Characters of an output that are kept at hand, and that one answer has at most.
KEPT, ANSWER = 256 << 10, 64 << 10
#: Bytes that are read before what is shown: of a secret that begins there, no end is shown.
_CONTEXT = 64 << 10
#: Who is so many bytes behind begins anew, near the end.
_FAR = 4 << 20
#: Pieces that are read for one answer.
_PIECES = 16
#: Outputs at a time; seconds after which one is forgotten that nobody asks for.
_MOST, _IDLE = 8, 60.0


@dataclass(frozen=True, slots=True)
class Piece:
    """What follows a position."""

    #: Changes when the positions of before mean nothing any more.
    stream: str
    #: Positions in characters: of the first one here, and after the last one.
    start: int
    end: int
    text: str
    #: There will be no more.
    is_over: bool


class Tail:
    """One output being followed."""

    def __init__(self, entry: Entry, redactor: Redactor) -> None:
        self.entry = entry
        self.asked_at = 0.0
        self._redactor = redactor
        self._reading = anyio.Lock()
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        start = max(0, size_of(self.entry.output) - KEPT - _CONTEXT)
        self._stream = secrets.token_hex(8)
        self._output = LiveOutput(self._redactor, start=start)
        #: Characters that are only read to know what is secret.
        self._context = _CONTEXT if start else 0
        self._text, self._first, self._is_over = "", 0, False

    async def read(self, stream: str, position: int, *, is_over: bool) -> Piece:
        """Return what follows ``position`` of ``stream``; ``is_over``: the run has ended."""
        async with self._reading:
            try:
                if not self._is_over:
                    await self._read_on(is_over=is_over)
            finally:
                if self._is_closed:
                    self._output.close()
        wanted = position if stream == self._stream else 0
        start = min(max(wanted, self._first), self._first + len(self._text))
        text = self._text[start - self._first :][:ANSWER]
        end = start + len(text)
        all_of_it = self._is_over and end == self._first + len(self._text)
        return Piece(self._stream, start, end, text, all_of_it)

    def close(self) -> None:
        """Close the file; where it is being read just now, right after that.

        Its number could be another file's before the reader has come to it.
        """
        self._is_closed = True
        if not self._reading.locked():
            self._output.close()

    async def _read_on(self, *, is_over: bool) -> None:
        for _ in range(_PIECES):
            text = await self._output.read_on(self.entry.output)
            if not text:
                break
            self._add(text)
        else:
            if self._output.left > _FAR:
                self._output.close()
                self._begin()
            return
        if is_over:
            self._add(self._output.rest())
            self._output.close()
            self._is_over = True

    def _add(self, text: str) -> None:
        if self._context:
            self._context, text = max(0, self._context - len(text)), text[self._context :]
            text = text.partition("\n")[2] if text else ""
        self._text += text
        if (above := len(self._text) - KEPT) > 0:
            self._text, self._first = self._text[above:], self._first + above


class Tails:
    """The outputs that somebody looks at, few at a time."""

    def __init__(
        self, board: Board, redactor: Redactor, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._board = board
        self._redactor = redactor
        self._clock = clock
        self._tails: dict[str, Tail] = {}

    async def read(self, run: str, stream: str, position: int) -> Piece | None:
        """Return what follows; ``None``: nothing is known of such a run."""
        self.forget()
        tail = self._tails.get(run) or self._found(run)
        if tail is None:
            return None
        tail.asked_at = self._clock()
        return await tail.read(stream, position, is_over=tail.entry not in self._board)

    def forget(self) -> None:
        """Close what nobody has asked for lately."""
        latest = self._clock() - _IDLE
        for run, tail in list(self._tails.items()):
            if tail.asked_at < latest:
                self._tails.pop(run).close()

    def close(self) -> None:
        """Close all."""
        while self._tails:
            self._tails.popitem()[1].close()

    def _found(self, run: str) -> Tail | None:
        entry = self._board.of_run(run)
        if entry is None:
            return None
        if len(self._tails) >= _MOST:
            oldest = min(self._tails, key=lambda one: self._tails[one].asked_at)
            self._tails.pop(oldest).close()
        tail = self._tails[run] = Tail(entry, self._redactor)
        return tail
