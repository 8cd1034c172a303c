"""What an experiment prints, in lines for reports: one each, or several of many. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

#: Reports of short lines that one look at the output makes at most; likewise of JSON fragments.
MOST = 20
#: Characters of one report, and of one line.
LONGEST = 16 << 10
_CUT = "…"


class Printed:
    """Cuts text into lines, in bounded memory; of a progress bar what a terminal would show."""

    def __init__(self) -> None:
        self._pending = ""
        self._is_cut = False

    def feed(self, text: str) -> list[str]:
        """Return the lines that this completes."""
        *whole, last = text.split("\n")
        lines: list[str] = []
        for piece in whole:
            self._keep(piece)
            lines.append(self._take())
        self._keep(last)
        return lines

    def close(self) -> list[str]:
        """Return what has no line's end."""
        return [self._take()] if self._pending else []

    def _keep(self, piece: str) -> None:
        together = self._pending + piece
        if len(together) > LONGEST:
            # Written over and over, it is its last look that counts.
            together = together.rstrip("\r").rpartition("\r")[2]
        self._is_cut = self._is_cut or len(together) > LONGEST
        self._pending = together[:LONGEST]

    def _take(self) -> str:
        line, is_cut = self._pending.rstrip("\r").rpartition("\r")[2], self._is_cut
        self._pending, self._is_cut = "", False
        return f"{line}{_CUT}" if is_cut else line


def folded(lines: Sequence[str], most: int = MOST) -> list[str]:
    """Return the messages of reports: a line each while there are few; none is left out.

    Of many, lines that follow each other share one, as far as they are short enough for that.
    """
    each = -(-len(lines) // most)
    messages: list[list[str]] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if not messages or len(messages[-1]) == each or size > LONGEST:
            messages.append([])
            size = len(line) + 1
        messages[-1].append(line)
    return ["\n".join(message) for message in messages]


def fragments(lines: Sequence[str], most: int = MOST) -> list[str]:
    """Return the lines that are JSON objects, or lists of some: the last ones where they are many.

    Those are what the metadata document is made of (protocol section 7.10).
    """
    found: list[str] = []
    for line in reversed(lines):
        text = line.strip()
        if text[:1] + text[-1:] in {"{}", "[]"} and _is_fragment(text):
            found.append(text)
            if len(found) == most:
                break
    return found[::-1]


def _is_fragment(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, dict) for one in value)
    return isinstance(value, dict)
