"""Tables, drawn by rich on a terminal and tab-separated in a pipe; JSON for scripts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNIT = 1024


def as_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; in a pipe without title, one row per line, cells parted by tabs."""
    if sys.stdout.isatty():
        # Imported late: a pipe and a script shall not wait for it.
        from rich.console import Console  # noqa: PLC0415

        Console().print(drawn(title, columns, rows))
        return
    for row in (columns, *rows):
        print("\t".join(map(line, row)))


def drawn(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Any:
    """Return a table that rich can print."""
    from rich.table import Table  # noqa: PLC0415 - as in table()
    from rich.text import Text  # noqa: PLC0415

    found = Table(title=title, title_justify="left", header_style="bold", box=None)
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        found.add_row(*(Text(line(value)) for value in row))
    return found


def note(text: str) -> None:
    """Tell a person something that is not the command's result."""
    print(text, file=sys.stderr, flush=True)


def size(number: float) -> str:
    """Write a size: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < _UNIT:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= _UNIT
    return f"{number:.1f} TiB"


def duration(seconds: float) -> str:
    """Write a duration: ``850ms``, ``12.3s``, ``4m05s``, ``3h20m``, ``2d04h``."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def since(moment: object) -> str:
    """Write how long ago a moment was; empty for what is no moment."""
    return duration(time.time() - moment) if isinstance(moment, int | float) else ""


def line(value: object) -> str:
    """Keep a text on its line: what a message says must not draw rows of its own."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
