"""Reads what an experiment prints while it runs, and has it posted."""

from __future__ import annotations

import anyio

from runner.lifecycle.board import Entry
from runner.lifecycle.parts import Parts
from runner.lifecycle.responses import telling
from runner.lifecycle.responses.printed import Printed
from runner.lifecycle.runs.last_lines import last_lines
from runner.lifecycle.runs.live_output import LiveOutput

#: Seconds between two looks, which bundle the lines of that time.
_PAUSE = 1.0
#: Characters of one look: who prints more for long is followed from ever farther behind.
_LOOK = 256 << 10
#: The same where they are only counted, and seconds and characters for the rest at the end.
_SKIPPED, _LAST_SECONDS, _LAST = 8 << 20, 2.0, 1 << 20
#: Looks after which the next daemon is told how far we are.
_NOTED_EVERY = 30


class Following:
    """The output of one run; lines that an earlier daemon has posted are not posted again.

    Nothing is read while nobody wants it: a response queue that is made late gets all of it.
    """

    def __init__(self, parts: Parts, entry: Entry) -> None:
        self._parts = parts
        self._entry = entry
        # What earlier attempts have printed lies before.
        self._output = LiveOutput(parts.redactor, start=entry.record.printed_before)
        self._printed = Printed()
        self._known = entry.record.told
        #: Lines of this attempt that were read.
        self._read = 0

    async def follow(self) -> None:
        """Post until cancelled."""
        looks = 0
        while self._parts.responses.is_on:
            if self._is_wanted:
                await self._look(_SKIPPED if self._read < self._known else _LOOK)
                looks += 1
                if looks % _NOTED_EVERY == 0:
                    self._note()
            await anyio.sleep(_PAUSE)

    async def finish(self) -> None:
        """Post what is left when the run is over, as far as that takes no time."""
        if not self._is_wanted:
            return
        with anyio.move_on_after(_LAST_SECONDS):
            await self._look(_LAST)
        self._post([*self._printed.feed(self._output.rest()), *self._printed.close()])
        if left := self._output.left:
            last: tuple[str, ...] = ()
            with anyio.move_on_after(_LAST_SECONDS):
                last = await last_lines(self._entry.output, self._parts.redactor)
            telling.left_out(self._parts, self._entry, left, last)

    def close(self) -> None:
        """Close the file, and leave word for the next daemon."""
        self._note()
        self._output.close()

    @property
    def _is_wanted(self) -> bool:
        return self._parts.responses.wants(telling.subject(self._parts, self._entry))

    async def _look(self, most: int) -> None:
        seen, lines = 0, list[str]()
        while seen < most:
            # What is read must not be lost between the file and here.
            with anyio.CancelScope(shield=True):
                text = await self._output.read_on(self._entry.output)
            if not text:
                break
            seen += len(text)
            lines += self._printed.feed(text)
            if len(lines) and self._read + len(lines) <= self._known:
                self._read += len(lines)
                lines.clear()
        self._post(lines)

    def _post(self, lines: list[str]) -> None:
        fresh = lines[max(0, self._known - self._read) :]
        self._read += len(lines)
        if fresh:
            telling.printed(self._parts, self._entry, fresh)

    def _note(self) -> None:
        if self._read > self._entry.record.told:
            self._entry.note(self._parts.records, told=self._read)
