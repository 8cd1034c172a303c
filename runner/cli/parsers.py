"""The parser of every command, as its ``main`` builds it: for completion and the manual."""

from __future__ import annotations

import argparse
import importlib

from runner.cli import COMMANDS
from runner.settings.parser import ASKED, Asked, Parser


def parser_of(name: str) -> Parser:
    """Return the parser that prints a command's help; nothing else of the command is done."""
    module = importlib.import_module(f"runner.cli.{name.replace('-', '_')}")
    token = ASKED.set(True)
    try:
        module.main(["--help"], {})
    except Asked as asked:
        return asked.parser
    finally:
        ASKED.reset(token)
    raise LookupError(f"studio-runner {name} has printed no help")


def every_parser() -> dict[str, Parser]:
    """Return them all by command, in the order of the help."""
    return {name: parser_of(name) for name in COMMANDS}


def actions(parser: Parser) -> list[argparse.Action]:
    """Return what a parser takes, apart from what is kept quiet about."""
    known: list[argparse.Action] = parser._actions  # noqa: SLF001 - argparse has no public list
    return [action for action in known if action.help != argparse.SUPPRESS]


def help_of(action: argparse.Action) -> str:
    """Return an argument's help, its values filled in."""
    text = action.help or ""
    values = {"default": action.default, "metavar": action.metavar, "prog": "studio-runner"}
    return text % values if "%" in text else text


def value_of(action: argparse.Action) -> str:
    """Return how the value of an argument is called; empty where it takes none."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return action.metavar or action.dest.replace("_", "-").upper()
