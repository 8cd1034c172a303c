"""Results as rows: which columns there are, in which order, sorted by which of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from runner.cli import show
from runner.client.results import Result
from runner.client.values import Series
from runner.errors import Misconfigured

#: Columns of every table, and what they are of a result.
_FACTS = ("cause", "exit_code", "attempt", "host", "seconds", "submitted", "detail")
_OWN = ("key", "state", *_FACTS)
#: Names that are columns already, in one form of the table or another.
_TAKEN = frozenset({"outcome", "took", *_OWN})
_VALUE, _PARAMETER = "value/", "parameter/"
_DIGITS = 5


class Rows:
    """Some results, side by side."""

    def __init__(self, results: Sequence[Result], wanted: Sequence[str] = ()) -> None:
        """``wanted``: the values that are shown; empty: all."""
        self.results = results
        self.parameters = _union([result.parameters for result in results])
        self._values = [result.values for result in results]
        #: Every number that one of them told.
        self.told = _union(self._values)
        self.values = [self._named(name) for name in wanted] or self.told

    def sorted(self, by: str) -> Rows:
        """Return them by a value, a parameter or a fact; ``-accuracy``: the greatest first.

        What lacks it comes last. Raises Misconfigured for what no result has.
        """
        name = by.removeprefix("-")
        if not self.knows(by):
            known = [*self.parameters, *self.told, *_OWN]
            raise Misconfigured(f"--sort is {by!r}: give one of {', '.join(known)}")
        having = [one for one in self.results if of(one, name) is not None]
        lacking = [one for one in self.results if of(one, name) is None]
        having.sort(key=lambda one: _order(of(one, name)), reverse=by.startswith("-"))
        found = Rows([*having, *lacking])
        # In the order that they have unsorted.
        found.parameters, found.values = self.parameters, self.values
        return found

    def knows(self, by: str) -> bool:
        """Tell whether there is anything of that name to sort by."""
        name = by.removeprefix("-")
        return name in _OWN or any(of(one, name) is not None for one in self.results)

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        """Return columns and rows for a person."""
        columns = ("key", *self._parameter_columns(), "outcome", "took", *self._value_columns())
        rows = []
        for result, values in zip(self.results, self._values, strict=True):
            told = [values.get(name) for name in self.values]
            rows.append(
                (
                    result.key,
                    *(result.parameters.get(name, "") for name in self.parameters),
                    result.cause or result.state,
                    "" if result.seconds is None else show.duration(result.seconds),
                    *("" if value is None else rounded(value) for value in told),
                )
            )
        return columns, rows

    def csv(self) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        """Return columns and rows for a program: everything, unrounded."""
        columns = ("key", *self._parameter_columns(), "state", *_FACTS, *self._value_columns())
        rows = []
        for result, values in zip(self.results, self._values, strict=True):
            facts = [getattr(result, name) for name in ("state", *_FACTS)]
            points = [result.parameters.get(name) for name in self.parameters]
            told = [values.get(name) for name in self.values]
            row = (result.key, *points, *facts, *told)
            rows.append(["" if cell is None else cell for cell in row])
        return columns, rows

    def json(self) -> Sequence[Mapping[str, Any]]:
        """Return everything as documents."""
        return [
            {
                "key": result.key,
                "parameters": dict(result.parameters),
                "state": result.state,
                **{name: getattr(result, name) for name in _FACTS},
                "values": {name: one for name, one in values.items() if name in self.values},
            }
            for result, values in zip(self.results, self._values, strict=True)
        ]

    def _parameter_columns(self) -> Sequence[str]:
        """Tell a parameter from a column of our own."""
        return [f"{_PARAMETER}{name}" if name in _TAKEN else name for name in self.parameters]

    def _value_columns(self) -> Sequence[str]:
        """Tell a value from a parameter of the same name, and from a column of our own."""
        taken = _TAKEN | set(self.parameters)
        return [f"{_VALUE}{name}" if name in taken else name for name in self.values]

    def _named(self, name: str) -> str:
        return name if name in self.told else name.removeprefix(_VALUE)


def of(result: Result, name: str) -> object:
    """Return what the column of that name has of a result; ``None`` for nothing.

    So a name is first one of our own, then a parameter, then a value: ``value/lr`` and
    ``parameter/host`` tell those apart that have the same name.
    """
    if name in _OWN:
        return getattr(result, name)
    if name in result.parameters:
        return number_in(result.parameters[name])
    if name in result.values:
        return result.values[name]
    if name.startswith(_PARAMETER):
        text = result.parameters.get(name.removeprefix(_PARAMETER))
        return None if text is None else number_in(text)
    return result.values.get(name.removeprefix(_VALUE)) if name.startswith(_VALUE) else None


def told_by(result: Result, name: str, beside: Sequence[str]) -> Series:
    """Return how a value went, by the name of its column, with others of the same lines."""
    found = result.told_with(name, beside)
    return found if found.values else result.told_with(name.removeprefix(_VALUE), beside)


def number_in(text: str) -> float | str:
    """Return the finite number that a text is, else the text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def rounded(value: float) -> str:
    """Write a number in a few digits."""
    whole = value == int(value) and abs(value) < 10**_DIGITS
    return str(int(value)) if whole else f"{value:.{_DIGITS}g}"


def _order(value: object) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if isinstance(value, int | float) else 0.0, str(value))


def _union(names: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for one in names for name in one))
