"""A chart as a PNG file, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.cli.curves import Chart
from runner.errors import Misconfigured

#: As many colours as matplotlib has; more lines are shades from the first to the last.
_TOLD_APART = 10
#: More names than this are not read any more.
_MOST_NAMED = 24
_LONGEST = 60


def write(chart: Chart, path: Path) -> None:
    """Draw a chart into a file. Raises Misconfigured without matplotlib, or where none can be."""
    try:
        # Imported late: it takes a second, and is an extra.
        from matplotlib import colormaps  # noqa: PLC0415
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise Misconfigured(
            "--png needs matplotlib: pip install 'studio-runner[plot]' (without --png the plot is "
            "drawn in the terminal)"
        ) from error
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if len(chart.curves) > _TOLD_APART:
        shades = colormaps["viridis"].resampled(len(chart.curves))
        axes.set_prop_cycle(color=[shades(number) for number in range(len(chart.curves))])
    for curve in chart.curves:
        xs, ys = zip(*curve.points, strict=True)
        axes.plot(xs, ys, marker="o", markersize=3)
    axes.set(xlabel=_plain(chart.x), ylabel=_plain(chart.y))
    axes.grid(visible=True, alpha=0.3)
    _add_legend(figure, axes, [curve.name for curve in chart.curves])
    if chart.categories:
        axes.set_xticks(range(len(chart.categories)), list(map(_plain, chart.categories)))
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise Misconfigured(f"--png {path} cannot be written: {error.strerror}") from error


def _add_legend(figure: Any, axes: Any, names: Sequence[str]) -> None:
    """Say which line is which: in the plot, or beside it where there are many."""
    handles, shown = list(axes.get_lines()), list(map(_plain, names))
    if len(names) > _MOST_NAMED:
        # Some from the first to the last, as the shades go.
        step = (len(names) - 1) / (_MOST_NAMED - 1)
        chosen = [round(step * number) for number in range(_MOST_NAMED)]
        handles, shown = [handles[one] for one in chosen], [shown[one] for one in chosen]
    owner, place = (figure, "outside right upper") if len(names) > _TOLD_APART else (axes, "best")
    title = f"{_MOST_NAMED} of {len(names)}" if len(names) > _MOST_NAMED else None
    owner.legend(handles, shown, fontsize="small", loc=place, title=title)


def _plain(text: str) -> str:
    """Keep a name what it is: a dollar begins a formula, and what begins with _ is not shown."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return (f" {cut}" if cut.startswith("_") else cut).replace("$", r"\$")
