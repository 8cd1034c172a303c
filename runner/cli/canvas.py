"""A chart in a terminal's characters, each of them two by four dots."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runner.cli.curves import Chart, Curve

#: Bit of each dot of a braille character, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
_WIDE, _HIGH = 2, 4
_COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue", "white")
_LETTERS = string.ascii_lowercase + string.ascii_uppercase
_FEWEST = 10
_CUT = "…"


@dataclass(frozen=True, slots=True)
class Ability:
    """What the place can show that a chart is drawn on."""

    #: Without, a letter stands at each point, and says which line it is of.
    colours: bool = True
    #: Without, there is ASCII alone.
    unicode: bool = True

    @staticmethod
    def of(encoding: str, *, colours: bool) -> Ability:
        """Return what can be written in an encoding."""
        try:
            f"{chr(_BRAILLE)}│└─{_CUT}".encode(encoding)
        except (UnicodeEncodeError, LookupError):
            return Ability(colours=colours, unicode=False)
        return Ability(colours=colours)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps numbers onto dots."""

    least: float
    most: float
    dots: int

    def at(self, value: float) -> int:
        """Return the dot of a value."""
        # Halves: the span of the largest numbers is none itself.
        span = self.most / 2 - self.least / 2
        share = (value / 2 - self.least / 2) / span if span else 0.5
        return round(share * (self.dots - 1))


Cell = tuple[int, str, str]
"""Bits of a braille character, its colour, and the letter of a point that is there."""
_EMPTY: Cell = (0, "", "")


def drawn(
    chart: Chart,
    width: int,
    height: int,
    ability: Ability = Ability(),
) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield lines of text and colour pairs: the plot with its axes, and below it what is what."""
    points = [point for curve in chart.curves for point in curve.points]
    ys = _Axis(*_range([y for _, y in points]), max(height, 2) * _HIGH)
    left = [f"{ys.most:.4g}", f"{ys.least:.4g}"]
    margin = max(map(len, left))
    across = max(width - margin - 2, _FEWEST)
    xs = _Axis(*_range([x for x, _ in points]), across * _WIDE)
    cells = _cells(chart, xs, ys)
    edge, corner, floor = ("│", "└", "─") if ability.unicode else ("|", "+", "-")
    yield [(_cut(f"{chart.y} over {chart.x}", width, ability), "bold")]
    rows = ys.dots // _HIGH
    for row in range(rows):
        said = left[0] if row == 0 else left[1] if row == rows - 1 else ""
        line = [cells.get((row, column), _EMPTY) for column in range(across)]
        inked = ((_character(cell, ability), cell[1]) for cell in line)
        yield [(f"{said:>{margin}} {edge}", ""), *inked]
    yield [(" " * margin + f" {corner}" + floor * across, "")]
    yield [(" " * (margin + 2) + _below(chart, xs, across), "")]
    for number, curve in enumerate(chart.curves):
        mark = "⣿" if ability.colours and ability.unicode else _letter(number)
        name = _cut(curve.name, max(width - 4, 1), ability)
        yield [(f"  {mark} ", _colour(number)), (name, "")]


def _cells(chart: Chart, xs: _Axis, ys: _Axis) -> Mapping[tuple[int, int], Cell]:
    cells: dict[tuple[int, int], Cell] = {}
    for number, curve in enumerate(chart.curves):
        dots = _dots(curve, xs, ys)
        for x, y in _line(dots):
            place = (y // _HIGH, x // _WIDE)
            bits, _, letter = cells.get(place, _EMPTY)
            cells[place] = (bits | _DOTS[y % _HIGH][x % _WIDE], _colour(number), letter)
        for x, y in dots:
            place = (y // _HIGH, x // _WIDE)
            cells[place] = (*cells[place][:2], _letter(number))
    return cells


def _dots(curve: Curve, xs: _Axis, ys: _Axis) -> Sequence[tuple[int, int]]:
    return [(xs.at(x), ys.dots - 1 - ys.at(y)) for x, y in curve.points]


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
    """Return what stands below the axis: its ends, or names, each as near to its place as can be.

    Names that do not fit are left out, the last of them first.
    """
    if not chart.categories:
        first, last = f"{xs.least:.4g}", f"{xs.most:.4g}"
        return first if first == last else first + last.rjust(across - len(first))
    written = ""
    for number, name in enumerate(chart.categories):
        if number < xs.least or number > xs.most:
            continue
        wanted = xs.at(number) // _WIDE - len(name) // 2
        start = max(min(wanted, across - len(name)), len(written) + 2 if written else 0)
        if start + len(name) <= across:
            written = written.ljust(start) + name
    return written or chart.categories[0][:across]


def _cut(text: str, width: int, ability: Ability) -> str:
    if len(text) <= width:
        return text
    mark = _CUT if ability.unicode else "~"
    return text[: width - 1] + mark


def _character(cell: Cell, ability: Ability) -> str:
    bits, _, letter = cell
    if letter and not (ability.colours and ability.unicode):
        return letter
    if not bits:
        return " "
    return chr(_BRAILLE + bits) if ability.unicode else "."


def _letter(number: int) -> str:
    return _LETTERS[number % len(_LETTERS)]


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
