"""What a plot shows: lines of points out of results. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.cli.result_rows import of, told_by
from runner.client.grid import shown
from runner.client.results import Result
from runner.client.values import STEPS
from runner.errors import RunnerError

#: What the axis is called where the lines are counted.
STEP = STEPS[0]


@dataclass(frozen=True)
class Curve:
    """One line."""

    name: str
    #: Sorted by x.
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Lines over one axis."""

    x: str
    y: str
    curves: Sequence[Curve]
    #: What stands at x = 0, 1, 2 …, where x is no number; empty: numbers.
    categories: Sequence[str] = ()


def over_steps(results: Sequence[Result], y: str, x: str = "") -> Chart:
    """Return a line for each run, over ``x`` of the lines that told ``y``. Raises RunnerError.

    Without ``x``, over the first of ``STEPS`` that counts the lines of all; where there is none,
    or no ``STEP`` that was asked for, the lines are counted.
    """
    told = {one.key: told_by(one, y, [x] if x else STEPS) for one in results}
    having = [found for found in told.values() if found.values]
    x = x or next((name for name in STEPS if all(name in one.steps for one in having)), "")
    if x == STEP and not any(found.beside[x] for found in having):
        x = ""
    curves = []
    for one in results:
        found = told[one.key]
        points = sorted(found.beside[x], key=lambda point: point[0]) if x else found.points
        curves.append(Curve(shown(one.parameters) or one.key, points))
    return _chart(x or STEP, y, [curve for curve in curves if curve.points], results)


def is_step(results: Sequence[Result], x: str) -> bool:
    """Tell whether ``x`` counts lines, and does not tell experiments apart."""
    return x in STEPS and not any(x in one.parameters for one in results)


def over(results: Sequence[Result], x: str, y: str, by: str = "") -> Chart:
    """Return the last ``y`` of each over a parameter or a value, a line for each ``by``.

    Without ``by``, it is all other parameters. Raises RunnerError where there is none.
    """
    seen = [(of(one, x), of(one, y), _line(one, x, y, by)) for one in results]
    told = [(a, float(b), c) for a, b, c in seen if a is not None and isinstance(b, int | float)]
    is_number = all(isinstance(a, int | float) for a, _, _ in told)
    categories = [] if is_number else list(dict.fromkeys(_written(a) for a, _, _ in told))
    lines: dict[str, list[tuple[float, float]]] = {}
    for a, b, c in told:
        place = (
            float(a) if is_number and isinstance(a, int | float) else categories.index(_written(a))
        )
        lines.setdefault(c, []).append((place, b))
    curves = [Curve(name, sorted(points)) for name, points in lines.items()]
    return _chart(x, y, curves, results, categories)


def _line(one: Result, x: str, y: str, by: str) -> str:
    """Name the line that a result's point is on."""
    if by:
        value = of(one, by)
        return y if value is None else f"{by}={_written(value)}"
    return shown({name: text for name, text in one.parameters.items() if name != x}) or y


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _chart(
    x: str,
    y: str,
    curves: Sequence[Curve],
    results: Sequence[Result],
    categories: Sequence[str] = (),
) -> Chart:
    if not curves:
        known = dict.fromkeys(name for one in results for name in one.values)
        told = f"they told {', '.join(known)}" if known else "they printed no number as JSON yet"
        raise RunnerError(f"no experiment has {x} and {y} to be shown: {told}")
    return Chart(x, y, curves, categories)
