"""Which part of an output is wanted: all of it, from a place on, or its last lines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from runner.redaction.forms import KEY, LONGEST

#: Read at a time, from the end.
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part of an output that reaches to its end."""

    #: So many lines, the last of which may lack its end; ``None``: all from ``since`` on.
    lines: int | None = None
    #: Of the first byte; an output that has become shorter than that is another one.
    since: int = 0
    #: Bytes at most; ``None``: as many as the lines have.
    most: int | None = None

    def start(self, file: BinaryIO) -> int:
        """Return where it begins: at a line of which all is there. Seeks; raises OSError.

        Costs the reading of the lines that are wanted, and no more. A private key that began above
        them belongs to them: who masks it has to see its first line.
        """
        size = file.seek(0, os.SEEK_END)
        if self.lines is None:
            return self.since if self.since <= size else 0
        bound = 0 if self.most is None else max(0, size - self.most)
        start = _start_of_last(file, size, self.lines, bound)
        return _before_key(file, start) if 0 < start < size else start


def _start_of_last(file: BinaryIO, size: int, lines: int, bound: int) -> int:
    if not lines:
        return size
    place, found = size, 0
    while place > bound:
        start = max(bound, place - _PIECE)
        file.seek(start)
        data = file.read(place - start)
        cut = len(data) - (place == size and data.endswith(b"\n"))
        count = data.count(b"\n", 0, cut)
        if found + count >= lines:
            for _ in range(lines - found):
                cut = data.rfind(b"\n", 0, cut)
            return start + cut + 1
        found, place = found + count, start
    return _next_line(file, bound) if bound else 0


def _next_line(file: BinaryIO, place: int) -> int:
    """Return where the next line begins, or a line that is drawn over this one."""
    file.seek(place)
    while data := file.read(_PIECE):
        ends = [end for end in (data.find(b"\n"), data.find(b"\r")) if end >= 0]
        if ends:
            return place + min(ends) + 1
        place += len(data)
    return place


def _before_key(file: BinaryIO, start: int) -> int:
    above = max(0, start - LONGEST)
    file.seek(above)
    data = file.read(start - above + LONGEST)
    for begin, end, _, _ in KEY.spans(data, 0):
        if above + begin < start < above + end:
            return above + data.rfind(b"\n", 0, begin) + 1
    return start
