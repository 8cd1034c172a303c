"""The page of commands: usage, arguments and options of each, from the parser that reads them."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from docs.site.table import table
from runner.cli import COMMANDS
from runner.cli.parsers import actions, every_parser, help_of, value_of
from runner.settings import OPTIONS
from runner.settings.parser import Parser

_HEAD = """# Commands

What `studio-runner COMMAND --help` says, in one place. How [queues and stores are
named](../commands.md) is told elsewhere, and so are the [options of the daemon](../defaults.md), of
which a command takes those that are named below it; and the [exit statuses](exit-status.md). Every
command takes `--config FILE` and `--help`. This page is written from the code: `make reference`.
"""
_GROUPS = {option.group for option in OPTIONS.values()}
_EVERYWHERE = {"--help", "--config"}


def render() -> str:
    """Return the page."""
    parsers = every_parser()
    return _HEAD + "".join(_section(name, parser) for name, parser in parsers.items())


def _section(name: str, parser: Parser) -> str:
    usage = (parser.usage or "%(prog)s").replace("%(prog)s", parser.prog).strip()
    about = COMMANDS[name]
    parts = [f"## {name}", f"{about[0].upper()}{about[1:]}.", f"```\n{usage}\n```"]
    parts += _described(parser.description or "")
    parts += [table(("argument", "meaning"), rows)] if (rows := list(_own(parser))) else []
    parts += _of_the_daemon(parser)
    return "\n" + "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _described(description: str) -> Iterator[str]:
    for paragraph in description.strip().split("\n\n"):
        shaped = any(line.startswith(" ") for line in paragraph.splitlines())
        text = textwrap.dedent(paragraph)
        yield f"```\n{text}\n```" if shaped else text


def _own(parser: Parser) -> Iterator[tuple[str, str]]:
    of_the_daemon = _flags_of_the_daemon(parser)
    for action in actions(parser):
        flags = set(action.option_strings)
        if not flags & (of_the_daemon | _EVERYWHERE):
            yield ", ".join(f"`{one}`" for one in _written(action)), help_of(action)


def _written(action: argparse.Action) -> Iterator[str]:
    for flag in action.option_strings:
        yield f"{flag} {value_of(action)}".strip()
    if not action.option_strings:
        yield value_of(action)


def _flags_of_the_daemon(parser: Parser) -> set[str]:
    """Return the flags of the groups that settings are in: a command may have a namesake."""
    # argparse has no public lists of its groups and of what is in them
    groups = [group for group in parser._action_groups if group.title in _GROUPS]  # noqa: SLF001
    found = [action for group in groups for action in group._group_actions]  # noqa: SLF001
    return {flag for action in found for flag in action.option_strings}


def _of_the_daemon(parser: Parser) -> Iterator[str]:
    taken = _flags_of_the_daemon(parser)
    names = [f"--{option.name}" for option in OPTIONS.values()]
    found = [f"`{name}`" for name in names if name in taken]
    if len(found) == len(names):
        yield "Of the daemon's options: all."
    elif found:
        text = f"Of the daemon's options: {', '.join(found)}."
        yield "\n".join(textwrap.wrap(text, 100, break_on_hyphens=False))
