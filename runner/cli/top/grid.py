"""Lays out rows in columns of a width that is given; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

_GAP = 1
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; it is as wide as what is in it, within bounds."""

    title: str
    #: It may be cut down to this; its title's width where nothing is said.
    least: int = 0
    most: int = 40
    right: bool = False
    #: Where there is too little room, columns of the highest rank go first; 0 never goes.
    rank: int = 0

    @property
    def floor(self) -> int:
        """The least width in which it is shown."""
        return self.least or len(self.title)


def lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Text]],
    width: int,
    shown: slice = ALL,
) -> list[Text]:
    """Return the titles' line and one for each row that is ``shown``, none wider than ``width``.

    Columns have room for all rows, so that they stay where they are while a list is scrolled.
    """
    titles = [Text(column.title, style="bold") for column in columns]
    widths = _widths(columns, [titles, *rows], width)
    return [_line(columns, row, widths, width) for row in (titles, *rows[shown])]


def fitted(text: Text, width: int, *, right: bool = False) -> Text:
    """Return a copy of exactly this width, cut with an ellipsis or filled up."""
    copy = text.copy()
    copy.truncate(max(0, width), overflow="ellipsis")
    missing = max(0, width - copy.cell_len)
    copy.pad_left(missing) if right else copy.pad_right(missing)
    return copy


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """Share out ``room`` lines: who wants little gets all of it, the others the same each."""
    got = [0] * len(wanted)
    while room > 0 and any(g < w for g, w in zip(got, wanted, strict=True)):
        for place, want in enumerate(wanted):
            if got[place] < want and room > 0:
                got[place] += 1
                room -= 1
    return got


def _widths(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int
) -> dict[int, int]:
    """Return the width of each column that is shown, by its place."""
    natural = {
        place: min(column.most, max(row[place].cell_len for row in rows))
        for place, column in enumerate(columns)
    }
    while True:
        excess = sum(natural.values()) + _GAP * (len(natural) - 1) - width
        if excess <= 0:
            return natural
        if not _shrink(columns, natural):
            rank, place = max((columns[place].rank, place) for place in natural)
            if rank == 0:
                return natural
            del natural[place]


def _shrink(columns: Sequence[Column], widths: dict[int, int]) -> bool:
    """Take a cell from the column that has most to spare; tell whether there was one."""
    spare, place = max((wide - columns[place].floor, place) for place, wide in widths.items())
    if spare > 0:
        widths[place] -= 1
    return spare > 0


def _line(
    columns: Sequence[Column], row: Sequence[Text], widths: dict[int, int], width: int
) -> Text:
    parts = [fitted(row[place], wide, right=columns[place].right) for place, wide in widths.items()]
    return fitted(Text(" " * _GAP).join(parts), width)
