"""An output on its way to a person, who reads each part of it once."""

from __future__ import annotations

import sys
from typing import TextIO

#: Characters by which an output is known again.
_HEAD = 256


class Output:
    """Prints an output that is read several times from its beginning, each part once.

    The output of a later attempt begins with that of the earlier ones; where it does not, as
    after a restart without its artifacts, it is printed whole.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._head = ""
        self._shown = 0
        self._pending: str | None = None
        self._skip = 0

    def begin(self) -> None:
        """Take what follows as the output from its beginning."""
        self._pending, self._skip = "", 0

    def write(self, text: str) -> None:
        """Print what of ``text`` was not printed yet."""
        if self._pending is not None:
            self._pending += text
            if len(self._pending) < len(self._head):
                return
            text, self._pending = self._pending, None
            self._compare(text)
        fresh = text[self._skip :]
        self._skip -= len(text) - len(fresh)
        self._emit(fresh)

    def end(self) -> None:
        """The output is over for now."""
        pending, self._pending = self._pending, None
        if pending and not self._head.startswith(pending):
            self._compare("")
            self._emit(pending)

    def _compare(self, text: str) -> None:
        if self._head and text.startswith(self._head):
            self._skip = self._shown
        else:
            self._head, self._shown, self._skip = "", 0, 0

    def _emit(self, text: str) -> None:
        if text:
            self._head += text[: _HEAD - len(self._head)]
            self._shown += len(text)
            self._out.write(text)
            self._out.flush()
