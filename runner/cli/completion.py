"""``studio-runner completion``: what the shell needs to complete commands, options and keys."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from runner.cli import COMMANDS
from runner.cli.arguments import ClientCommand
from runner.cli.daemon import state_on_disk
from runner.cli.show import line
from runner.errors import Misconfigured
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = """Print the script that completes the words of studio-runner in a shell.

  bash   eval "$(studio-runner completion bash)" in ~/.bashrc
  zsh    studio-runner completion zsh >~/.zfunc/_studio-runner, with fpath+=~/.zfunc
         before compinit in ~/.zshrc
  fish   studio-runner completion fish >~/.config/fish/completions/studio-runner.fish

Print it anew after an upgrade: it asks no program for options. KEY is completed with the
experiments that run or ended lately on this machine."""
_SHELLS = ("bash", "zsh", "fish")
#: Names of values behind which a path stands.
_FILES = frozenset({"FILE", "FILES", "PATH", "SCRIPT"})
_DIRECTORIES = frozenset({"DIR", "DIRECTORY"})
_KEYS = "_studio_runner_keys"
_ASK = "studio-runner completion --keys 2>/dev/null"
_PREAMBLE = {
    "bash": f'{_KEYS}() {{ compgen -W "$({_ASK})" -- "$1"; }}',
    "zsh": f'{_KEYS}() {{ local -a keys; keys=("${{(@f)$({_ASK})}}"); compadd -a keys; }}',
    "fish": "",
}


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print it. Raises Misconfigured."""
    command = ClientCommand("completion", _ABOUT, "bash|zsh|fish", arguments=_arguments)
    settings, chosen = command.parse(argv, environ)
    if chosen.keys:
        print("\n".join(_keys(settings)))
    elif chosen.shell is None:
        raise Misconfigured(f"name a shell: studio-runner completion {'|'.join(_SHELLS)}")
    else:
        print(_script(chosen.shell))
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "shell", metavar="SHELL", nargs="?", choices=_SHELLS, help=", ".join(_SHELLS)
    )
    parser.add_argument(
        "--keys", action="store_true", help="print what KEY is completed with, one a line"
    )


def _keys(settings: Settings) -> list[str]:
    """Return the keys that a shell takes as one word each, the latest first."""
    known = state_on_disk(settings)
    keys = [str(one["key"]) for one in (*known["running"], *reversed(known["recent"]))]
    return [key for key in dict.fromkeys(keys) if key and key == line(key) and " " not in key]


def _script(shell: str) -> str:
    import shtab  # noqa: PLC0415 - the one use

    return str(shtab.complete(_whole(), shell, preamble=_PREAMBLE[shell]))


def _whole() -> argparse.ArgumentParser:
    """Return one parser of the whole command line."""
    from runner.cli.parsers import every_parser  # noqa: PLC0415 - it loads every command

    whole = argparse.ArgumentParser("studio-runner", description="Runs StudioML experiments.")
    whole.add_argument("--version", action="store_true", help="which version and commit it is")
    commands = whole.add_subparsers(metavar="COMMAND")
    for name, parser in every_parser().items():
        if name == "submit":  # what follows the script is the script's own
            parser.add_argument("script", metavar="SCRIPT", nargs="?", help="what to run")
        _complete_values(parser)
        parser.description = COMMANDS[name]
        commands.add_parser(name, help=COMMANDS[name], add_help=False)
        commands.choices[name] = parser
    return whole


def _complete_values(parser: Parser) -> None:
    from runner.cli.parsers import actions, help_of  # noqa: PLC0415 - likewise

    for action in actions(parser):
        action.help = help_of(action).replace("%", "%%")
        if action.choices is not None:
            action.choices = tuple(action.choices)  # a mapping is taken for parsers
        elif action.nargs != 0:
            _complete(action)


def _complete(action: argparse.Action) -> None:
    """Tell shtab what stands behind a value's name."""
    import shtab  # noqa: PLC0415 - as above

    ways: dict[str, object] = {
        **dict.fromkeys(_FILES, shtab.FILE),
        **dict.fromkeys(_DIRECTORIES, shtab.DIRECTORY),
        "KEY": {"bash": _KEYS, "zsh": _KEYS, "fish": f"({_ASK})"},
    }
    if action.metavar == "BOOL":
        action.choices = ("true", "false")
    elif isinstance(action.metavar, str) and action.metavar in ways:
        action.complete = ways[action.metavar]  # type: ignore[attr-defined]  # it looks there
