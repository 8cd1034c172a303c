"""``studio-runner drain``: let the daemon on this machine finish what it runs, and end."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import Item, ask_once
from runner.control.client import NoDaemon
from runner.request.units import parse_duration
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = (
    "Let the daemon receive nothing more and end when its runs have, at the latest after its "
    "--grace-period. Saying it again changes nothing."
)
_PAUSE = 0.5


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Drain. Raises NoDaemon."""
    settings, chosen = ClientCommand("drain", _ABOUT, "", arguments=_arguments).parse(argv, environ)
    running = anyio.run(_drain, settings, chosen)
    if chosen.json:
        show.as_json({"draining": True, "running": running})
    elif not chosen.wait:
        what = "gives back" if chosen.now or chosen.within else "waits for"
        print(f"draining: the daemon receives nothing more and {what} {_runs(running)}")
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "--now",
        action="store_true",
        help="do not wait for runs: stop them, save a last checkpoint, give their messages back",
    )
    parser.add_argument(
        "--within",
        metavar="TIME",
        type=_time,
        help="the same, and leave what is not stored in time: the machine ends after TIME, as 25s",
    )
    parser.add_argument("--wait", action="store_true", help="return when the daemon has ended")
    add_json(parser)


def _time(text: str) -> float:
    """Return seconds. Raises ValueError."""
    if (seconds := parse_duration(text).total_seconds()) <= 0:
        raise ValueError("no time at all")
    return seconds


async def _drain(settings: Settings, chosen: Namespace) -> int:
    answer = await ask_once(settings, "drain", now=chosen.now, within=chosen.within)
    if chosen.wait:
        # It may end between any two questions: that is what we wait for.
        with suppress(NoDaemon):
            await _until_it_has_ended(settings)
    return int(answer["running"])


async def _until_it_has_ended(settings: Settings) -> None:
    told: list[str] | None = None
    while True:
        status: Item = await ask_once(settings, "status")
        keys = [str(run["key"]) for run in status["running"]]
        if keys != told:
            named = f": {', '.join(map(show.line, keys))}" if keys else ""
            show.note(f"draining: waiting for {_runs(len(keys))}{named}")
            told = keys
        await anyio.sleep(_PAUSE)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"
