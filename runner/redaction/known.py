"""The values that are masked, found among thousands of them as fast as among few."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

#: Fewer than so many values are looked for one by one.
_FEW = 64
_WIDE, _NARROW = 8, 4
#: A value has a window of each width within it, wherever it stands, from this length on.
_LONG, _SHORT = 2 * _WIDE - 1, 2 * _NARROW - 1

_Table = dict[int, tuple[bytes, ...]]


class Known:
    """A bag of values: what was added twice stays until it is removed twice.

    The text is cut into windows of eight and of four bytes, and each is looked up: a value stands
    at one of eight, or four, places against them, so that is how often it is in the tables. What is
    found there is looked for. Read by any thread while another one changes it.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._counts: Counter[bytes] = Counter()
        self._tables: dict[int, _Table] = {_WIDE: {}, _NARROW: {}}
        #: All values where they are few; then the tables are not asked.
        self._all: tuple[bytes, ...] | None = ()
        #: Of values that are too short for one cut of the text.
        self._tiny = 0
        #: Bytes of the longest value.
        self.longest = 0

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, values: Iterable[bytes]) -> None:
        """Look for these from now on."""
        with self._changing:
            for value in values:
                self._counts[value] += 1
                if self._counts[value] == 1:
                    self._enter(value)
            self._sum_up()

    def remove(self, values: Iterable[bytes]) -> None:
        """Look for these no more, unless they were added for another reason too."""
        with self._changing:
            for value in values:
                self._counts[value] -= 1
                if not self._counts[value]:
                    del self._counts[value]
                    self._leave(value)
            self._sum_up()

    def found(self, data: bytes) -> list[bytes]:
        """Return the values that are in ``data``."""
        few = self._all
        candidates = self._candidates(data) if few is None else few
        return [value for value in candidates if value in data]

    def _candidates(self, data: bytes) -> set[bytes]:
        found: set[bytes] = set()
        self._look_up(_WIDE, data, found)
        self._look_up(_NARROW, data, found)
        if self._tiny:
            self._look_up(_NARROW, data[_NARROW // 2 :], found)
        return found

    def _look_up(self, width: int, data: bytes, found: set[bytes]) -> None:
        table = self._tables[width]
        whole = memoryview(data)[: len(data) // width * width]
        windows = whole.cast("Q") if width == _WIDE else whole.cast("I")
        for window in table.keys() & windows:
            found.update(table.get(window, ()))

    def _enter(self, value: bytes) -> None:
        self._tiny += len(value) < _SHORT
        for width, window in _windows(value):
            table = self._tables[width]
            table[window] = (*table.get(window, ()), value)

    def _leave(self, value: bytes) -> None:
        self._tiny -= len(value) < _SHORT
        for width, window in _windows(value):
            table = self._tables[width]
            left = tuple(one for one in table[window] if one != value)
            if left:
                table[window] = left
            else:
                del table[window]

    def _sum_up(self) -> None:
        self.longest = max(map(len, self._counts), default=0)
        self._all = tuple(self._counts) if len(self._counts) < _FEW else None


def _windows(value: bytes) -> Iterator[tuple[int, int]]:
    """Yield the windows one of which the value has wherever it stands, with their width, once."""
    width = _WIDE if len(value) >= _LONG else _NARROW
    places = (value[place : place + width] for place in range(width))
    for window in dict.fromkeys(one for one in places if len(one) == width):
        yield width, int.from_bytes(window, sys.byteorder)
