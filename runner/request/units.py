"""Sizes and durations as StudioML clients and operators write them, to numbers and back."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from runner.model import Bytes

_SIZE = re.compile(r"\s*([0-9.,]+)\s*([a-z]*)\s*", re.IGNORECASE)
_PREFIXES = "kmgtpe"
_FACTORS = (
    {"": 1, "b": 1}
    | {p + u: 1000**n for n, p in enumerate(_PREFIXES, 1) for u in ("", "b")}
    | {p + u: 1024**n for n, p in enumerate(_PREFIXES, 1) for u in ("i", "ib")}
)
_SIZE_LIMIT = 2**64
_LONGEST = 100

_DURATION = re.compile(
    r"(?P<sign>[+-]?)(?P<parts>(?:-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)",
    re.IGNORECASE,
)
_PART = re.compile(r"(-?[0-9.]+)([^0-9.-]+)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def parse_size(text: str) -> Bytes:
    """Read ``512gb``, ``16gib``, ``1024mb``, ``2G`` or a bare number of bytes (protocol 2.3).

    Units are case-insensitive, decimal without an ``i`` and binary with one; a fraction of a byte
    is cut off. Raises ValueError.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    factor = _FACTORS.get(match[2].lower()) if match else None
    digits = match[1].replace(",", "") if match else ""
    if factor is None or digits.count(".") > 1 or not digits.strip("."):
        raise ValueError(
            f"{text[:_LONGEST]!r} is no size; write a number and a unit, "
            "such as 512gb, 16gib or 1024mb"
        )
    size = int(Fraction(Decimal(digits)) * factor)
    if size >= _SIZE_LIMIT:
        raise ValueError(f"{text!r} is more than any machine has; the largest size is 16eib")
    return Bytes(size)


def format_size(size: int) -> str:
    """Write a size in decimal units with two or three significant digits, ``9.5 GB``."""
    value, unit = Decimal(size), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if value < Decimal("999.5"):
            break
        value, unit = value / 1000, larger
    if unit == "B" or value >= Decimal("9.95"):
        return f"{value:.0f} {unit}"
    return f"{value:.1f} {unit}"


def parse_duration(text: str) -> timedelta:
    """Read ``20m``, ``1h30m``, ``1.5h``, ``48h`` or ``0`` (protocol 2.4, and the client's grammar).

    The units are ns, us, ms, s, m and h, in any case; less than a microsecond is rounded. A
    negative duration is read as one: whoever asks decides what it means. Raises ValueError.
    """
    text = text.strip()
    if text in {"0", "+0", "-0"}:
        return timedelta(0)
    match = _DURATION.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(
            f"{text[:_LONGEST]!r} is no duration; write numbers with the units h, m and s, "
            "such as 20m, 1h30m or 48h"
        )
    nanoseconds = sum(
        Fraction(Decimal(number)) * _NANOSECONDS[unit.lower()]
        for number, unit in _PART.findall(match["parts"])
    )
    try:
        duration = timedelta(microseconds=round(Fraction(nanoseconds) / 1000))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any experiment; write at most 8760h") from None
    return -duration if match["sign"] == "-" else duration


def format_duration(duration: timedelta) -> str:
    """Write a duration so that ``parse_duration`` reads the same one, ``1h30m``."""
    microseconds = duration // timedelta(microseconds=1)
    if microseconds == 0:
        return "0s"
    sign, microseconds = ("-" if microseconds < 0 else ""), abs(microseconds)
    minutes, rest = divmod(microseconds, 60 * 10**6)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{Decimal(rest).scaleb(-6):f}".rstrip("0").rstrip(".")
    parts = ((str(hours), "h"), (str(minutes), "m"), (seconds, "s"))
    return sign + "".join(n + unit for n, unit in parts if n not in {"0", ""})
