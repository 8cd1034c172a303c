"""``studio-runner logs``: the output of an experiment, live or as it was stored."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence

import anyio

from runner.cli import show, stores
from runner.cli.arguments import ClientCommand
from runner.cli.daemon import control_socket
from runner.cli.following import Watch, show_stored
from runner.cli.meter import Meter
from runner.cli.output import Output
from runner.cli.waiting import Reasons
from runner.client.shop import Shop
from runner.control.client import NoDaemon, ask
from runner.errors import RunnerError
from runner.lifecycle.runs.wanted import Wanted
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
        "KEY [-f] [-n N]",
        settings=("state_dir", *stores.SETTINGS),
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    with stores.opened(settings, chosen, environ) as shops:
        shop = stores.knowing(shops, chosen.key)
        if shop is None and not anyio.run(_live, settings, chosen, Output()):
            raise stores.unknown(chosen.key, shops, chosen, environ)
        return 0 if shop is None else anyio.run(_show, settings, chosen, shop)


def _arguments(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    parser.add_argument(
        "-n", "--tail", metavar="N", type=_count, help="the last N lines; with -f from there on"
    )
    stores.add_options(parser, "every --local-store-root")


def _count(text: str) -> int:
    """Return a number of lines. Raises ValueError."""
    number = int(text)
    if number < 0:
        raise ValueError("there are no fewer lines than none")
    return number


async def _show(settings: Settings, chosen: Namespace, shop: Shop) -> int:
    output = Output()
    if chosen.follow:
        found = shop.experiment(chosen.key) or {}
        submitted = found.get("time_added")
        watch = Watch(
            shop,
            chosen.key,
            submitted,
            control_socket(settings),
            output,
            reasons=Reasons(control_socket(settings), chosen.key, submitted),
            wanted=Wanted(chosen.tail),
        )
        show.note(f"{chosen.key}: {(await watch.ending()).sentence}")
        return 0
    if await _live(settings, chosen, output):
        return 0
    if await show_stored(shop, chosen.key, Wanted(chosen.tail), output) is None:
        raise RunnerError(f"the experiment {chosen.key!r} has no output yet")
    return 0


async def _live(settings: Settings, chosen: Namespace, output: Output) -> bool:
    """Print what the daemon has; ``False`` when it has nothing of the experiment."""
    found = False
    try:
        part = {"follow": chosen.follow, "tail": chosen.tail}
        items = ask(control_socket(settings), "logs", key=chosen.key, **part)
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
