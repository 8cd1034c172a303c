"""A chart as a PNG file, drawn by matplotlib."""

from __future__ import annotations

from pathlib import Path

from runner.cli.curves import Chart
from runner.errors import Misconfigured


def write(chart: Chart, path: Path) -> None:
    """Draw a chart into a file. Raises Misconfigured without matplotlib, or where none can be."""
    try:
        # Imported late: it takes a second, and is an extra.
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
    for curve in chart.curves:
        xs, ys = zip(*curve.points, strict=True)
        axes.plot(xs, ys, marker="o", markersize=3, label=curve.name.replace("$", r"\$"))
    axes.set(xlabel=chart.x.replace("$", r"\$"), ylabel=chart.y.replace("$", r"\$"))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    if chart.categories:
        names = [name.replace("$", r"\$") for name in chart.categories]
        axes.set_xticks(range(len(names)), names)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise Misconfigured(f"--png {path} cannot be written: {error.strerror}") from error
