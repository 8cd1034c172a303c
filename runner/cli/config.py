"""``studio-runner config``: every option's value, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.app.masking import redactor_of
from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.settings import OPTIONS
from runner.settings.written import written

_ABOUT = (
    "Print the value that every option of the daemon has here, and where it came from. Takes the "
    "options of studio-runner run; secrets are shown as ***."
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
        text = redactor.redact(written(option, getattr(settings, field)))
        rows.append((option.name, text, str(settings.origins[field])))
    if arguments.json:
        show.as_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
    else:
        show.table("Options", ("option", "value", "origin"), rows)
    for line in settings.notes:
        show.note(f"note: {line}")
    return 0
