"""Texts from elsewhere, made harmless for a terminal; and numbers, written short."""

from __future__ import annotations

import math
import re
from typing import Any

from runner.cli import show

#: What moves the cursor, sets colours or titles: CSI, OSC and the like, also cut short.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)
_TAB = 8
_UNITS = "BKMGTP"
_FACTOR = 1024
_LONG = 9.95


def harmless(text: str) -> str:
    """Return one line of output without sequences and control characters.

    Of a line that was drawn over itself, as progress bars are, its last state is left.
    """
    text = _SEQUENCES.sub("", text).rstrip("\r").rpartition("\r")[2].expandtabs(_TAB)
    return "".join(c for c in text if c.isprintable())


def word(value: object) -> str:
    """Return a text of a message or a broker on one line, its control characters spelled out."""
    return show.line(value)


def number(value: Any) -> float | None:
    """Return a number of the daemon's answer, and nothing for what is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def short(size: float | None) -> str:
    """Write a size in four or five characters: ``1.2G``, ``640M``; ``?`` where it is not known."""
    if size is None:
        return "?"
    unit = 0
    while size >= _FACTOR - 0.5 and unit < len(_UNITS) - 1:
        size, unit = size / _FACTOR, unit + 1
    written = f"{size:.1f}" if unit and size < _LONG else f"{size:.0f}"
    return f"{written.removesuffix('.0')}{_UNITS[unit]}"


def of(part: str, whole: str) -> str:
    """Write how much of what there is: ``1.2G/4G``."""
    return f"{part}/{whole}"


def span(seconds: float) -> str:
    """Write a duration without fractions: ``7s``, ``4m05s``, ``3h20m``."""
    whole = max(0, int(seconds))
    return f"{whole}s" if whole < 60 else show.duration(whole)  # noqa: PLR2004 - a minute


def cores(value: float | None) -> str:
    """Write processor cores: ``1.7``, ``12``."""
    if value is None:
        return "?"
    return f"{value:.1f}".removesuffix(".0") if value < _LONG else f"{value:.0f}"
