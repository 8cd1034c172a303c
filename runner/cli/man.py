"""``studio-runner man``: the manual page, written from the parsers."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runner import __version__, revision
from runner.cli import COMMANDS
from runner.cli.arguments import ClientCommand
from runner.cli.parsers import actions, every_parser, help_of, value_of
from runner.settings import OPTIONS
from runner.settings.parser import Parser

_ABOUT = """Print the manual page: every command, and every option of the daemon.

  studio-runner man | man -l -
  studio-runner man >/usr/local/share/man/man1/studio-runner.1"""
_INTRODUCTION = (
    "Runs queued StudioML experiments on the machines you own. studio-runner run is the daemon; "
    "the other commands put experiments on queues, look after them, and after the daemon."
)
_STATUS = (
    "0 when all went well, 1 when something failed, 2 when the command or the configuration "
    "cannot be understood. submit --wait exits with the status of the experiment."
)
_ENVIRONMENT = (
    "Every option is also an environment variable: --max-cores is STUDIO_RUNNER_MAX_CORES, else "
    "MAX_CORES; and a key of the YAML file of --config: max-cores. A flag wins over the "
    "environment, the environment over the file."
)
_EVERYWHERE = frozenset({"--help", "--config"})


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print it."""
    ClientCommand("man", _ABOUT, "", settings=(), arguments=lambda _: None).parse(argv, environ)
    print(text(), end="")
    return 0


def text() -> str:
    """Return the page as a file."""
    return "".join(f"{line}\n" for line in _plain(page()))


def page() -> Iterator[str]:
    """Yield the lines of the page, for man(7) of groff and mandoc."""
    parsers = every_parser()
    groups = dict.fromkeys(option.group for option in OPTIONS.values())
    yield f'.TH STUDIO-RUNNER 1 "" "studio-runner {__version__}{revision.shown()}" ""'
    yield ".SH NAME"
    yield r"studio\-runner \- run queued StudioML experiments on machines of your own"
    yield ".SH SYNOPSIS"
    yield from (r".B studio\-runner", r".I COMMAND", r"[\fIOPTION\fR ...]", ".br")
    yield from (r".B studio\-runner", r"\-\-version | \-\-help")
    yield from _section("DESCRIPTION", [_INTRODUCTION])
    yield ".SH COMMANDS"
    for name, parser in parsers.items():
        yield from _command(name, parser, groups)
    yield ".SH OPTIONS OF THE DAEMON"
    yield from _text("Commands that look at what the daemon would see take some of them as well.")
    for group in groups:
        yield f".SS {_escaped(group)}"
        yield from _arguments(
            a for a in actions(parsers["run"]) if _group(parsers["run"], a) == group
        )
    yield from _section("ENVIRONMENT", [_ENVIRONMENT])
    yield from _section("EXIT STATUS", [_STATUS])


def _plain(lines: Iterable[str]) -> Iterator[str]:
    """Leave out the paragraphs that a heading begins anyway: lint complains of them."""
    before = ""
    for line in lines:
        if line != ".PP" or not before.startswith((".SH", ".SS")):
            yield line
        before = line


def _section(title: str, paragraphs: Iterable[str]) -> Iterator[str]:
    yield f".SH {title}"
    for paragraph in paragraphs:
        yield from _text(paragraph)


def _command(name: str, parser: Parser, groups: Iterable[str]) -> Iterator[str]:
    yield f".SS {_escaped(name)}"
    usage = (parser.usage or "%(prog)s").replace("%(prog)s", parser.prog).strip()
    yield from _text(f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.")
    yield from _shaped(usage)
    for paragraph in (parser.description or "").strip().split("\n\n"):
        is_shaped = any(line.startswith(" ") for line in paragraph.splitlines())
        yield from _shaped(textwrap.dedent(paragraph)) if is_shaped else _text(paragraph)
    shared = frozenset(groups)
    yield from _arguments(
        action
        for action in actions(parser)
        if _group(parser, action) not in shared and not _EVERYWHERE & set(action.option_strings)
    )
    flags = [f for a in actions(parser) if _group(parser, a) in shared for f in a.option_strings]
    if name != "run" and flags:
        taken = "all" if len(flags) >= len(OPTIONS) else ", ".join(flags)
        yield from _text(f"Of the options of the daemon: {taken}.")


def _group(parser: Parser, action: argparse.Action) -> str:
    groups = parser._action_groups  # noqa: SLF001 - argparse has no public list of them
    held = (g for g in groups if action in g._group_actions)  # noqa: SLF001 - likewise
    return next((str(group.title) for group in held), "")


def _arguments(found: Iterable[argparse.Action]) -> Iterator[str]:
    for action in found:
        value = value_of(action)
        written = [rf"\fB{_escaped(flag)}\fR" for flag in action.option_strings]
        value = rf"\fI{_escaped(value)}\fR" if value else ""
        yield ".TP"
        yield f"{', '.join(written)} {value}".strip()
        yield _line(help_of(action)) or r"\&"


def _text(paragraph: str) -> Iterator[str]:
    yield ".PP"
    yield _line(" ".join(paragraph.split()))


def _shaped(text: str) -> Iterator[str]:
    """Keep the lines as they are."""
    yield from (".PP", ".RS 4", ".nf")
    yield from (_line(line) or r"\&" for line in text.splitlines())
    yield from (".fi", ".RE")


def _line(text: str) -> str:
    """Escape a line of text; what begins like a request is none."""
    written = _escaped(text)
    return rf"\&{written}" if re.match(r"[.']", written) else written


def _escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
