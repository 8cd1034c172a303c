"""``studio-runner logs``: the output of an experiment, live or as it was stored."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand
from runner.cli.daemon import control_socket
from runner.cli.following import Output, Watch
from runner.cli.shop import LocalShop
from runner.control.client import NoDaemon, ask
from runner.errors import RunnerError
from runner.redaction import Redactor
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = (
    "Print the output of an experiment: what the daemon on this machine has of a run under way, "
    "else what was stored."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the output."""
    command = ClientCommand(
        "logs",
        _ABOUT,
        "KEY [-f]",
        settings=("state_dir", "local_store_root"),
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    return anyio.run(_show, settings, chosen)


def _arguments(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    parser.add_argument("--store", metavar="DIRECTORY", help="default: every --local-store-root")


async def _show(settings: Settings, chosen: Namespace) -> int:
    shop = shop_of(settings, chosen)
    output = Output()
    if chosen.follow and shop is not None:
        found = shop.experiment(chosen.key) or {}
        submitted = found.get("time_added")
        watch = Watch(shop, chosen.key, submitted, control_socket(settings), output)
        show.note(f"{chosen.key}: {(await watch.ending()).sentence}")
        return 0
    if await _live(settings, chosen, output):
        return 0
    stored = shop.output(chosen.key) if shop is not None else None
    if stored is None:
        why = "has no output yet" if shop is not None else "is not known here"
        raise RunnerError(f"the experiment {chosen.key!r} {why}")
    output.write(Redactor().redact(stored))
    return 0


async def _live(settings: Settings, chosen: Namespace, output: Output) -> bool:
    """Print what the daemon has; ``False`` when it has nothing of the experiment."""
    found = False
    try:
        items = ask(control_socket(settings), "logs", key=chosen.key, follow=chosen.follow)
        async for item in items:
            found = True
            output.write(str(item.get("text", "")))
    except NoDaemon:
        return found
    return found


def shop_of(settings: Settings, chosen: Namespace) -> LocalShop | None:
    """Return the store that knows the experiment."""
    roots = [Path(chosen.store).expanduser()] if chosen.store else settings.local_store_root
    shops = [LocalShop(root.absolute()) for root in roots]
    known = (s for s in shops if s.experiment(chosen.key) or s.claim(chosen.key))
    return next(known, None)
