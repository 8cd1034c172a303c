"""How a client command reads its own arguments beside the settings that it needs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Collection, Mapping, Sequence

from runner.settings import OPTIONS, Settings
from runner.settings.parser import Parser, build_parser
from runner.settings.reading import read

#: Groups that every parser begins with: positional arguments, and options of no group.
_ARGPARSES_OWN = 2


class ClientCommand:
    """One command of the client: what it is called, says of itself, and takes."""

    def __init__(
        self,
        name: str,
        about: str,
        usage: str,
        *,
        settings: Sequence[str] = ("state_dir",),
        client_keys: Collection[str] = (),
        arguments: Callable[[Parser], None],
    ) -> None:
        self._settings = tuple(dict.fromkeys(settings))
        options = [OPTIONS[field] for field in self._settings]
        self.parser = build_parser(name, about, options, usage, client_keys=client_keys)
        _add_before_settings(self.parser, arguments)

    def parse(self, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Settings, Namespace]:
        """Return settings and arguments.

        Raises Misconfigured; prints the help and raises SystemExit where ``argv`` asks for it.
        """
        return read(self.parser, argv, environ, only=self._settings)


def _add_before_settings(parser: Parser, arguments: Callable[[Parser], None]) -> None:
    """Add a command's own options so that its help begins with them."""
    groups = parser._action_groups  # noqa: SLF001 - argparse has no public order of them
    settings = groups[_ARGPARSES_OWN:]
    arguments(parser)
    groups[:] = [one for one in groups if one not in settings] + settings


def add_json(parser: Parser) -> None:
    """Add the flag that scripts want."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def own_words(parser: Parser, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part a command line before its first positional word: our options, somebody else's words.

    What follows a script belongs to the script, whatever it looks like.
    """
    flags = {flag: action for action in parser._actions for flag in action.option_strings}  # noqa: SLF001 - argparse has no public list of them
    place = 0
    while place < len(argv):
        word = argv[place]
        if word == "--":
            return list(argv[:place]), list(argv[place + 1 :])
        if not word.startswith("-") or word == "-":
            break
        action = flags.get(word)
        takes_value = action is not None and action.nargs is None and "=" not in word
        place += 2 if takes_value else 1
    return list(argv[:place]), list(argv[place:])
