"""``studio-runner logs``: the output of an experiment, live or as it was stored."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence

import anyio

from runner.cli import show, stores
from runner.cli.arguments import ClientCommand
from runner.cli.daemon import control_socket
from runner.cli.following import Output, Watch
from runner.cli.masking import redactor_for
from runner.cli.meter import Meter
from runner.client.shop import Shop
from runner.control.client import NoDaemon, ask
from runner.errors import RunnerError
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
        settings=("state_dir", *stores.SETTINGS),
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    with stores.opened(settings, chosen, environ) as shops:
        return anyio.run(_show, settings, chosen, stores.knowing(shops, chosen.key))


def _arguments(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    stores.add_options(parser, "every --local-store-root")


async def _show(settings: Settings, chosen: Namespace, shop: Shop | None) -> int:
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
    output.write(redactor_for(shop, chosen.key).redact(stored))
    return 0


async def _live(settings: Settings, chosen: Namespace, output: Output) -> bool:
    """Print what the daemon has; ``False`` when it has nothing of the experiment."""
    found = False
    try:
        items = ask(control_socket(settings), "logs", key=chosen.key, follow=chosen.follow)
        with Meter(f"{chosen.key}: fetching") as meter:
            async for item in items:
                found = True
                if "fetched" in item:
                    meter.show(item["fetched"], item["of"])
                elif "text" in item:
                    meter.clear()
                    output.write(str(item["text"]))
    except NoDaemon:
        return found
    return found
