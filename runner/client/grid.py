"""A grid of parameters: from ``--grid lr=0.1,0.01`` to the arguments of each experiment. Pure."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runner.errors import Misconfigured

#: As many experiments as one sweep may have unless somebody says otherwise.
MOST = 1000
#: More than this nobody may ask for: a sweep's listing is one object, read and written whole.
LARGEST = 10_000

Grid = Mapping[str, Sequence[str]]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def grid_of(texts: Iterable[str]) -> Grid:
    """Read ``NAME=VALUE,VALUE…``, one text a name; quotes keep a comma. Raises Misconfigured."""
    grid: dict[str, Sequence[str]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals:
            raise Misconfigured(f"--grid is {text!r}: give NAME=VALUE,VALUE…, such as lr=0.1,0.01")
        if name in grid:
            raise Misconfigured(f"--grid {name} is given twice: list its values in one --grid")
        grid[name] = _listed(text, listed)
    return checked(grid)


def checked(grid: Mapping[str, Sequence[object]]) -> Grid:
    """Return a grid with its values as text. Raises Misconfigured for one that means nothing."""
    found: dict[str, Sequence[str]] = {}
    for name, values in grid.items():
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise Misconfigured(f"the grid has {values!r} for {name}: give a list of values")
        texts = [str(value) for value in values]
        if not _NAME.fullmatch(name):
            raise Misconfigured(
                f"the grid has a parameter {name!r}: a name has letters, digits, _, - and dots, "
                "and begins with a letter"
            )
        if not texts or "" in texts:
            raise Misconfigured(f"the grid has an empty value for {name}: give {name}=VALUE,VALUE…")
        if len(set(texts)) != len(texts):
            raise Misconfigured(f"the grid has a value of {name} twice: {', '.join(texts)}")
        found[name] = texts
    return found


def _listed(text: str, listed: str) -> Sequence[str]:
    try:
        return next(csv.reader([listed], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise Misconfigured(f"--grid is {text!r}, which is no list of values: {error}") from error


def points(grid: Grid, most: int = MOST) -> Iterator[Mapping[str, str]]:
    """Yield the product, the last parameter fastest. Raises Misconfigured beyond ``most``."""
    if most > LARGEST:
        raise Misconfigured(f"--grid-limit is {most}: a sweep has {LARGEST} experiments at most")
    count = math.prod(map(len, grid.values()))
    if count > most:
        sizes = " x ".join(f"{name} {len(values)}" for name, values in grid.items())
        raise Misconfigured(
            f"the grid has {count} points ({sizes}), more than {most}: name fewer values, or allow "
            "so many with --grid-limit"
        )
    names = tuple(grid)
    return (dict(zip(names, values, strict=True)) for values in itertools.product(*grid.values()))


def arguments(args: Sequence[str], parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the script's arguments at one point.

    ``{NAME}`` in an argument becomes the value; a parameter that no argument names is given as
    ``--NAME VALUE`` behind them, or as ``--NAME=VALUE`` where the value begins like an option,
    such as -1e-5. Other braces stay as they are.
    """
    named: set[str] = set()

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in parameters:
            return found[0]
        named.add(name)
        return parameters[name]

    filled = [re.sub(rf"\{{({_NAME.pattern})\}}", value, arg) for arg in args]
    others = (_option(name, text) for name, text in parameters.items() if name not in named)
    return (*filled, *itertools.chain.from_iterable(others))


def _option(name: str, text: str) -> tuple[str, ...]:
    return (f"--{name}={text}",) if text.startswith("-") else (f"--{name}", text)


def shown(parameters: Mapping[str, str]) -> str:
    """Write a point for a person: ``lr=0.1 depth=2``."""
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def keys(base: str, count: int, first: int = 1) -> Sequence[str]:
    """Name so many experiments of a sweep, so that they sort in the grid's order."""
    width = len(str(count))
    return [f"{base}-{number:0{width}}" for number in range(first, first + count)]


def number(base: str, key: str) -> int:
    """Return the number that ``keys`` gave to a key; 0 for one that is named otherwise."""
    found = re.fullmatch(rf"{re.escape(base)}-([0-9]{{1,9}})", key)
    return int(found[1]) if found else 0
