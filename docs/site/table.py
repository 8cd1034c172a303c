"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; a bar in a cell is no end of it."""
    titles = tuple(head)
    lines = [_line(titles), f"|{'---|' * len(titles)}\n", *map(_line, rows)]
    return "".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
