"""A chart in a terminal's characters, each of them two by four dots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runner.cli.curves import Chart

#: Bit of each dot of a braille character, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
_WIDE, _HIGH = 2, 4
_COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue", "white")
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps numbers onto dots."""

    least: float
    most: float
    dots: int

    def at(self, value: float) -> int:
        """Return the dot of a value."""
        span = self.most - self.least
        share = (value - self.least) / span if span else 0.5
        return round(share * (self.dots - 1))


Cell = tuple[int, str]
"""Bits of a braille character, and its colour."""


def drawn(chart: Chart, width: int, height: int) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield lines of text and colour pairs: the plot with its axes, and below it what is what."""
    points = [point for curve in chart.curves for point in curve.points]
    ys = _Axis(*_range([y for _, y in points]), max(height, 2) * _HIGH)
    left = [f"{ys.most:.4g}", f"{ys.least:.4g}"]
    margin = max(map(len, left))
    across = max(width - margin - 2, _FEWEST)
    xs = _Axis(*_range([x for x, _ in points]), across * _WIDE)
    cells = _cells(chart, xs, ys)
    yield [(f"{chart.y} over {chart.x}", "bold")]
    rows = ys.dots // _HIGH
    for row in range(rows):
        said = left[0] if row == 0 else left[1] if row == rows - 1 else ""
        line = [cells.get((row, column), (0, "")) for column in range(across)]
        yield [(f"{said:>{margin}} │", ""), *((_character(bits), ink) for bits, ink in line)]
    yield [(" " * margin + " └" + "─" * across, "")]
    yield [(" " * (margin + 2) + _below(chart, xs, across), "")]
    for number, curve in enumerate(chart.curves):
        yield [("  ⣿ ", _colour(number)), (curve.name, "")]


def _cells(chart: Chart, xs: _Axis, ys: _Axis) -> dict[tuple[int, int], Cell]:
    cells: dict[tuple[int, int], Cell] = {}
    for number, curve in enumerate(chart.curves):
        dots = [(xs.at(x), ys.dots - 1 - ys.at(y)) for x, y in curve.points]
        for x, y in _line(dots):
            place = (y // _HIGH, x // _WIDE)
            bits, _ = cells.get(place, (0, ""))
            cells[place] = (bits | _DOTS[y % _HIGH][x % _WIDE], _colour(number))
    return cells


def _line(dots: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join the dots, as evenly as they allow."""
    yield from dots[:1]
    for (x1, y1), (x2, y2) in pairwise(dots):
        steps = max(abs(x2 - x1), abs(y2 - y1), 1)
        for step in range(1, steps + 1):
            yield x1 + round((x2 - x1) * step / steps), y1 + round((y2 - y1) * step / steps)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _below(chart: Chart, xs: _Axis, across: int) -> str:
    if chart.categories:
        return f"{'  '.join(chart.categories)}"[:across]
    first, last = f"{xs.least:.4g}", f"{xs.most:.4g}"
    return first if first == last else first + last.rjust(across - len(first))


def _character(bits: int) -> str:
    return chr(_BRAILLE + bits) if bits else " "


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
