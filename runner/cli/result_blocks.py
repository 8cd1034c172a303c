"""Results on a terminal: a table where it fits, else a block of lines for each experiment."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from runner.cli import show

#: Blanks around a cell.
_AROUND = 2


def drawn(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int = 0) -> Any:
    """Return what rich can print; ``width`` is the terminal's."""
    width = width or shutil.get_terminal_size().columns
    if fits(columns, rows, width):
        return show.drawn("Results", columns, rows)
    from rich.text import Text  # noqa: PLC0415 - pipes do without

    return Text("\n".join(blocks(columns, rows, width)))


def fits(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> bool:
    """Tell whether every cell of a table can be read in one piece."""
    cells = zip(columns, *rows, strict=True)
    wanted = (max(len(show.line(cell)) for cell in column) + _AROUND for column in cells)
    return sum(wanted) <= width


def blocks(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> Iterator[str]:
    """Yield the lines of each row: its key, and below it all that it has, by name."""
    for row in rows:
        yield show.line(row[0])
        named = zip(columns, map(show.line, row), strict=True)
        # A blank within would be a place to break the line at.
        told = [f"{name}={text}" for name, text in islice(named, 1, None) if text]
        words = textwrap.wrap(
            " ".join(one.replace(" ", "\0") for one in told),
            width,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
        yield from (line.replace("\0", " ") for line in words)
