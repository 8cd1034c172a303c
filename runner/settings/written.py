"""How a value is written for people: in the form in which the option takes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from runner.redaction import Secret
from runner.request.units import format_duration
from runner.settings.kinds import SIZE, Binding, DiskFloor
from runner.settings.option import Option
from runner.settings.users import RunAs

#: Sizes that are whole in one of these are written in it.
_UNITS = (
    (2**30, "gib"),
    (10**9, "gb"),
    (2**20, "mib"),
    (10**6, "mb"),
    (2**10, "kib"),
)


def written(option: Option, value: Any) -> str:
    """Write a value of this option; a secret is ``***``, an absent one nothing."""
    return size(value) if option.kind is SIZE else _written(value)


def size(number: int) -> str:
    """Write a number of bytes: ``16gib``, ``512gb``."""
    found = (f"{number // unit}{name}" for unit, name in _UNITS if number and not number % unit)
    return next(found, str(number))


def _written(value: object) -> str:
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    return str(value)


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    bool: lambda value: str(value).lower(),
    timedelta: format_duration,
    tuple: lambda value: " ".join(_written(part) for part in value),
    re.Pattern: lambda value: str(value.pattern),
    RunAs: lambda value: f"{value.uid}:{value.gid} ({value.name})",
    DiskFloor: lambda value: f"{value.share * 100:g}%,{size(value.size)}",
    Binding: lambda value: f"{value.source}:{value.target}:{'rw' if value.writable else 'ro'}",
    Secret: lambda value: str(value) if value else "",
}
