"""``studio-runner keys``: make the keys for sealed and signed requests, and for reports."""

from __future__ import annotations

import os
import shlex
import stat
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runner.cli import show
from runner.cli.arguments import ClientCommand
from runner.errors import Misconfigured
from runner.settings.parser import Parser

_ABOUT = """Make new keys below DIR.

  generate    one that seals requests so that this runner alone reads them, and one
              that a sender signs them with
  responses   one that reports on response queues are sealed for, and the one that
              opens them for studio-runner watch

It says which option, and which line of the StudioML client's configuration, names
which file."""
_USAGE = "generate|responses [--queue NAME] DIR"
#: Beginnings of the names that clients give to their queues.
_QUEUES = "rmq_"


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Make them. Raises Misconfigured where there are some already."""
    command = ClientCommand("keys", _ABOUT, _USAGE, arguments=_arguments)
    _, chosen = command.parse(argv, environ)
    _ACTIONS[chosen.action](Path(chosen.directory), _queue(chosen))
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=_ACTIONS, help=", ".join(_ACTIONS))
    parser.add_argument("directory", metavar="DIR", help="for the keys; made where it is missing")
    parser.add_argument(
        "--queue",
        default=_QUEUES,
        metavar="NAME",
        help="queue, or beginning of the names of queues, that the new keys are for "
        f"(default: {_QUEUES})",
    )


def _queue(chosen: Namespace) -> str:
    queue = str(chosen.queue)
    if not queue or "/" in queue or queue.startswith("."):
        raise Misconfigured(f"--queue {queue!r} is no name, or beginning of a name, of a queue")
    return queue


def _generate(directory: Path, queue: str) -> None:
    from runner.privacy import making  # noqa: PLC0415 - it imports cryptography

    place = _laid_out(directory, making.generate(queue))
    show.note("for the runner:")
    print(f"--encrypt-dir {shlex.quote(str(place / making.MESSAGE))}")
    print(f"--request-signatures-dir {shlex.quote(str(place / making.SIGNING))}")
    show.note("for studio-runner submit, and for the StudioML client's configuration:")
    client = place / making.CLIENT
    print(f"public_key_path: {client / making.SEALING_KEY}")
    print(f"signing_key_path: {client / making.SIGNING_KEY}")


def _responses(directory: Path, queue: str) -> None:
    from runner.privacy import making  # noqa: PLC0415 - likewise

    place = _laid_out(directory, making.generate_for_responses(queue))
    show.note("for the runner:")
    print(f"--response-signatures-dir {shlex.quote(str(place / making.RESPONSE))}")
    show.note("for studio-runner watch:")
    print(f"--private-key {shlex.quote(str(place / making.CLIENT / making.RESPONSE_KEY))}")


_ACTIONS: Mapping[str, Callable[[Path, str], None]] = {
    "generate": _generate,
    "responses": _responses,
}


def _laid_out(directory: Path, files: Mapping[Path, bytes]) -> Path:
    """Write new files, and return the directory for people. Raises Misconfigured."""
    there = [str(directory / name) for name in files if (directory / name).exists()]
    if there:
        raise Misconfigured(f"{there[0]} is there already: keys are never overwritten")
    for name, content in files.items():
        _write(directory / name, content)
    return directory.absolute()


def _write(path: Path, content: bytes) -> None:
    """Write a file that its owner alone reads, in directories likewise. Raises Misconfigured."""
    try:
        for parent in reversed(path.parents):
            if not parent.exists():
                parent.mkdir(mode=stat.S_IRWXU)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR), "wb") as file:
            file.write(content)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error
