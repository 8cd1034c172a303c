"""The configargparse parser: all options as text, errors as Misconfigured."""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

import configargparse

from runner.errors import Misconfigured
from runner.settings import OPTIONS
from runner.settings.option import Option, variables

FILE_SUFFIX = "-file"
#: Keys of the file that are options of client commands alone: where ``submit`` puts things.
CLIENT_KEYS = frozenset({"store", "store-keys", "store-records"})
_WIDTH = 80
_EPILOG = (
    "Every option is also an environment variable (--max-cores: STUDIO_RUNNER_MAX_CORES, else "
    "MAX_CORES) and a key in the YAML file of --config (max-cores: 4). A flag wins over the "
    "environment, the environment over the file."
)


class UsageError(Misconfigured):
    """The command line cannot be understood."""


class ConfigFile(configargparse.YAMLConfigFileParser):  # type: ignore[misc]  # untyped base
    """A YAML mapping whose keys must be options; underscores count as dashes.

    One file serves all commands: a key that the command at hand does not read is passed over.
    """

    known: Collection[str] = ()
    taken: Collection[str] = ()

    def parse(self, stream: Any) -> Mapping[str, Any]:
        """Return the values by kebab-case key. Raises Misconfigured."""
        name = getattr(stream, "name", "the file")
        try:
            raw = super().parse(stream)
        except configargparse.ConfigFileParserException as error:
            reason = str(error).splitlines()[0]
            raise Misconfigured(f"{name} is no YAML mapping of options: {reason}") from error
        values = {}
        for written, value in raw.items():
            key = str(written).replace("_", "-")
            if key not in self.known:
                raise Misconfigured(f"{name}: {_unknown('key', key, self.known)}")
            if key in self.taken:
                values[key] = [str(v) for v in value] if isinstance(value, list) else value
        return values


class Asked(BaseException):
    """Somebody wants the parser itself, not its help."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser


#: Set where ``Parser`` raises ``Asked`` in the place of printing help.
ASKED: ContextVar[bool] = ContextVar("ASKED", default=False)


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]  # untyped base
    """Raises instead of exiting, and knows what an unknown option may have meant."""

    def print_help(self, file: Any = None) -> None:
        """Print the help. Raises Asked."""
        if ASKED.get():
            raise Asked(self)
        super().print_help(file)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} {name}" + (f"; did you mean {close[0]}?" if close else "")


def _open(path: str) -> Any:
    try:
        return Path(path).open(encoding="utf-8")
    except OSError as error:  # configargparse puts its own words before ours
        raise Misconfigured(error.strerror or str(error)) from error


def build_parser(
    prog: str,
    description: str,
    options: Iterable[Option],
    usage: str | None = None,
    *,
    client_keys: Collection[str] = (),
) -> Parser:
    """Return a parser of ``studio-runner PROG`` that knows ``options``.

    ``client_keys``: those of ``CLIENT_KEYS`` that the command adds options for.
    """
    options = tuple(options)
    known = _keys(OPTIONS.values()) | CLIENT_KEYS
    taken = _keys(options) | frozenset(client_keys)
    file_parser = type("KnownKeys", (ConfigFile,), {"known": known, "taken": taken})
    parser = Parser(
        prog=f"studio-runner {prog}",
        usage="%(prog)s [OPTION…]" if usage is None else f"%(prog)s {usage}",
        description=_wrapped(description),
        epilog=_wrapped(_EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        config_file_open_func=_open,
        config_file_parser_class=file_parser,
        add_config_file_help=False,
        add_env_var_help=False,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {}
    for found in options:
        if found.group not in groups:
            groups[found.group] = parser.add_argument_group(found.group)
        _add(groups[found.group], found)
    parser.add_argument(
        "--config", is_config_file=True, metavar="FILE", env_var="CONFIG", help="YAML file"
    )
    return parser


def _wrapped(text: str) -> str:
    """Break a paragraph; a text that has lines keeps them."""
    return text if "\n" in text else textwrap.fill(text, _WIDTH)


def _keys(options: Iterable[Option]) -> frozenset[str]:
    plain = {name for found in options for name in found.names}
    return frozenset(plain | {found.name + FILE_SUFFIX for found in options if found.file_form})


def _add(group: Any, found: Option) -> None:
    shown = found.shown_default or (found.default if isinstance(found.default, str) else "")
    flags = [f"--{name}" for name in found.names]
    text = found.help + (f" (default: {shown})" if shown else "")
    arguments: dict[str, Any] = {"dest": found.field, "metavar": found.kind.metavar}
    if found.repeatable:
        arguments["action"] = "append"
    if found.kind.switch:
        arguments.update(nargs="?", const="true", metavar="BOOL")
    group.add_argument(
        *flags, env_var=variables(found.name)[1], help=text.replace("%", "%%"), **arguments
    )
    if found.file_form:
        group.add_argument(
            f"--{found.name}{FILE_SUFFIX}",
            dest=f"{found.field}_file",
            metavar="FILE",
            env_var=variables(found.name + FILE_SUFFIX)[1],
            help=f"file that holds the value of --{found.name}",
        )


def doubled_dashes(argv: Sequence[str], names: Collection[str]) -> list[str]:
    """Turn the original's ``-max-cores`` into ``--max-cores``, for the names we know."""
    return [
        f"-{word}" if (m := re.match(r"-([a-z0-9][a-z0-9-]+)(?:=|$)", word)) and m[1] in names
        else word
        for word in argv
    ]  # fmt: skip


def refuse_unknown(unknown: Sequence[str], parser: Parser) -> None:
    """Raise UsageError for the first argument that the parser did not understand."""
    if not unknown:
        return
    word = unknown[0].partition("=")[0]
    if not word.startswith("-"):
        raise UsageError(f"unexpected argument {word!r}")
    flags = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 - argparse has no public list of them
    raise UsageError(_unknown("option", word, flags))
