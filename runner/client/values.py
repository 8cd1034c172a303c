"""The numbers that an experiment printed as JSON: the last of each, and how they went. Pure."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from runner.lifecycle.metadata.lines import MAX_JSON, Line, Lines
from runner.lifecycle.metadata.numbers import numbers
from runner.lifecycle.metadata.scraper import Scraper

#: The runner's own part of the document.
_OURS = "studioml"
#: Of one experiment; news have fewer.
_MOST = 5000
#: What trainers call the place of a line among their lines, the finest first.
STEPS = ("step", "global_step", "iteration", "epoch")
#: A number that may be too large for any float.
_LARGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}")


class Gathered:
    r"""Adds up what an output says, in bounded memory.

    A number that is NaN or infinite is none: the one that was told before it is gone as well, so
    that nobody takes it for the last.

    >>> gathered = Gathered()
    >>> gathered.feed(b'epoch 1\n{"loss": 2, "epoch": 1}\n{"loss": NaN, "epoch"')
    >>> gathered.feed(b": 2}\n")
    >>> gathered.document()
    {'epoch': 2}
    """

    def __init__(self) -> None:
        #: The beginning of a line.
        self._cut = b""
        self._scraper = Scraper(wrap=False)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the output."""
        whole, end, rest = data.rpartition(b"\n")
        if not end and len(self._cut) + len(data) <= MAX_JSON:
            self._cut += data
            return
        self._read(self._cut + whole + end)
        self._cut = rest

    def document(self) -> dict[str, Any]:
        """Return the document as runners make it, when all was fed."""
        self._read(self._cut)
        self._scraper.close()
        found = cast("dict[str, Any]", json.loads(self._scraper.document() or b"{}"))
        found.pop(_OURS, None)
        return found

    def _read(self, data: bytes) -> None:
        if _may_be_no_json(data):
            data = b"\n".join(map(_strict, data.split(b"\n")))
        self._scraper.feed(data)


def values(document: Mapping[str, Any]) -> Mapping[str, float]:
    """Return its numbers by path: ``validation/accuracy``."""
    return numbers(document, most=_MOST)


Points = Sequence[tuple[float, float]]
"""Of a curve."""


@dataclass(frozen=True, slots=True)
class Series:
    """How a number went: each that was told, and what was told beside it."""

    values: Sequence[float]
    #: The numbers over others of the same lines, by the others' names.
    beside: Mapping[str, Points]

    @property
    def points(self) -> Points:
        """The numbers over their places among them, from 1."""
        return list(enumerate(self.values, 1))

    @property
    def steps(self) -> Sequence[str]:
        """What counts its lines: it rises from each to the next, and few are told without it."""
        return [name for name, points in self.beside.items() if self._counts(points)]

    def _counts(self, points: Points) -> bool:
        # A summary at the end has none.
        is_usual = 2 * len(points) > len(self.values)
        return is_usual and all(a < b for (a, _), (b, _) in itertools.pairwise(points))


def series(output: Iterable[bytes], name: str, beside: Sequence[str] = ()) -> Series:
    r"""Return each number of that path that a line of its own told.

    ``output`` comes in pieces, cut anywhere; ``beside`` are the names of other numbers, on the
    same level of a line or above it.

    >>> output = [b'{"loss": 2, "step": 10}\nmore te', b'xt\n{"loss": 1}\n']
    >>> found = series(output, "loss", ["step"])
    >>> found.points, found.beside
    ([(1, 2.0), (2, 1.0)], {'step': [(10.0, 2.0)]})
    """
    told: list[float] = []
    others: dict[str, list[tuple[float, float]]] = {one: [] for one in beside}
    for line in _lines(output):
        numbers_ = _numbers(line.text) if line.text.startswith("{") else {}
        value = numbers_.get(name)
        if value is None:
            continue
        told.append(value)
        for one, points in others.items():
            if (place := _beside(numbers_, name, one)) is not None:
                points.append((place, value))
    return Series(told, others)


def _beside(found: Mapping[str, float], name: str, other: str) -> float | None:
    level, slash, _ = name.rpartition("/")
    return found.get(f"{level}{slash}{other}", found.get(other))


def _lines(output: Iterable[bytes]) -> Iterator[Line]:
    lines = Lines()
    for piece in output:
        yield from lines.feed(piece)
    yield from lines.close()


def _numbers(line: str) -> Mapping[str, float]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values(document) if isinstance(document, dict) else {}


def _may_be_no_json(data: bytes) -> bool:
    """Tell at little cost whether there may be a number that is NaN, or infinite."""
    return b"NaN" in data or b"Infinity" in data or _LARGE.search(data) is not None


def _strict(line: bytes) -> bytes:
    """Write ``null`` for numbers that JSON has not: merged into a document it removes a member."""
    if line.lstrip()[:1] != b"{" or not _may_be_no_json(line):
        return line
    try:
        found = json.loads(line, parse_constant=lambda _: None, parse_float=_finite)
        return json.dumps(found).encode()
    except (ValueError, RecursionError):
        return line


def _finite(text: str) -> float | None:
    return number if math.isfinite(number := float(text)) else None
