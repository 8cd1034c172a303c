"""Writes ``docs/defaults.md``: ``python -m runner.settings.manual > docs/defaults.md``."""

from __future__ import annotations

from runner.settings import OPTIONS, Option
from runner.settings.option import variables
from runner.settings.parser import FILE_SUFFIX

_HEAD = """# Options and their defaults

Every option is a flag of `studio-runner run`, an environment variable, and a key of the YAML file
that `--config FILE` names (`max-cores: 4`; a list where an option may be repeated). A flag wins
over the environment, the environment over the file, the file over the default. For every variable
below, the same name with `STUDIO_RUNNER_` before it wins over the bare one:
`STUDIO_RUNNER_MAX_CORES` over `MAX_CORES`. `LOGXI` and `LOGXI_FORMAT` count where `LOG_LEVEL` and
`LOG_FORMAT` are not set. `studio-runner config` prints every value and where it came from.

Sizes are written `512gb`, `16gib`, `1024mb`; durations `20m`, `1h30m`, `48h`. An option that may
be repeated takes several values in one text as well: paths parted by `:`, addresses and priorities
by a space, all else by a comma. An empty variable counts as not set, except where the empty value
has a meaning.

Options marked * are accepted, and have no effect yet.
"""


def render() -> str:
    """Return the whole text."""
    groups = dict.fromkeys(option.group for option in OPTIONS.values())
    return _HEAD + "".join(_table(group) for group in groups)


def _table(group: str) -> str:
    rows = [_row(option) for option in OPTIONS.values() if option.group == group]
    head = "| option | variable | default | meaning |\n|---|---|---|---|\n"
    return f"\n## {group}\n\n{head}" + "".join(rows)


def _row(option: Option) -> str:
    flags = ", ".join(f"`--{name}`" for name in option.names)
    default = option.default if isinstance(option.default, str) else ""
    cells = (
        flags + (" *" if option.idle else ""),
        f"`{variables(option.name)[1]}`",
        option.shown_default or (f"`{default}`" if default else "none"),
        _meaning(option),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _meaning(option: Option) -> str:
    more = [option.help]
    if option.repeatable:
        more.append("may be repeated")
    if option.file_form:
        more.append(f"`--{option.name}{FILE_SUFFIX}` reads it from a file")
    return "; ".join(more)


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - this is what it is for
