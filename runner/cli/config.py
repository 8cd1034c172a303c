"""``studio-runner config``: every option's value, and where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from runner.app.masking import redactor_of
from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.redaction import Secret
from runner.settings import OPTIONS
from runner.settings.kinds import SIZE, DiskFloor
from runner.settings.users import RunAs

_ABOUT = (
    "Print the value that every option of the daemon has here, and where it came from. Takes the "
    "options of studio-runner run; secrets are shown as ***."
)
#: Sizes that are whole in one of these are written in it.
_UNITS = (
    (2**30, "gib"),
    (10**9, "gb"),
    (2**20, "mib"),
    (10**6, "mb"),
    (2**10, "kib"),
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the settings."""
    command = ClientCommand(
        "config", _ABOUT, "[--json] [OPTION…]", settings=tuple(OPTIONS), arguments=add_json
    )
    settings, arguments = command.parse(argv, environ)
    redactor = redactor_of(settings, environ)
    rows = []
    for field, option in OPTIONS.items():
        value = getattr(settings, field)
        text = _size(value) if option.kind is SIZE else _written(value)
        rows.append((option.name, redactor.redact(text), str(settings.origins[field])))
    if arguments.json:
        show.as_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
    else:
        show.table("Options", ("option", "value", "origin"), rows)
    for line in settings.notes:
        show.note(f"note: {line}")
    return 0


def _written(value: object) -> str:
    """Write a value as the option takes it."""
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    return str(value)


def _size(number: int) -> str:
    found = (f"{number // unit}{name}" for unit, name in _UNITS if number and not number % unit)
    return next(found, str(number))


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    bool: lambda value: str(value).lower(),
    timedelta: show.written,
    tuple: lambda value: " ".join(_written(part) for part in value),
    re.Pattern: lambda value: str(value.pattern),
    RunAs: lambda value: f"{value.uid}:{value.gid} ({value.name})",
    DiskFloor: lambda value: f"{value.share * 100:g}%,{_size(value.size)}",
    Secret: lambda value: str(value) if value else "",
}
