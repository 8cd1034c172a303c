"""``studio-runner top``: what runs on this machine, live, in a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence

import anyio

from runner.cli.arguments import ClientCommand
from runner.request.units import parse_duration
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = (
    "Show what the daemon on this machine runs, against what each run was given; its queues, GPUs, "
    "cache and what ended lately, again and again. Keys select a run, show its live output, cancel "
    "it, drain or suspend the daemon; ? tells them. Prints once, as text, where the output is no "
    "terminal or one whose cursor cannot be moved."
)
_INTERVAL = 2.0
_SHORTEST = 0.2
#: Where nobody says how wide a page is.
_WIDTH = 120


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Show the view; exit status 0 also when no daemon runs."""
    command = ClientCommand("top", _ABOUT, "[--once] [--interval TIME]", arguments=_arguments)
    settings, chosen = command.parse(argv, environ)
    # What draws is not loaded for --help.
    from runner.cli.top.terminal import Terminal, can_be_drawn_on  # noqa: PLC0415

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a text stream of ours
    if chosen.once or not can_be_drawn_on(environ):
        anyio.run(_print_once, settings)
        return 0
    from runner.cli.top.live import View  # noqa: PLC0415

    async def show() -> int:
        return await View(settings, Terminal(), chosen.interval).run()

    return anyio.run(show)


def _arguments(parser: Parser) -> None:
    parser.add_argument("--once", action="store_true", help="print it once, and end")
    parser.add_argument(
        "--interval",
        metavar="TIME",
        type=_seconds,
        default=_INTERVAL,
        help=f"between two looks, as 5s; {_SHORTEST:g}s at least (default: {_INTERVAL:g}s)",
    )


def _seconds(text: str) -> float:
    """Return seconds. Raises ValueError."""
    bare = text.replace(".", "", 1).isdecimal()
    seconds = float(text) if bare else parse_duration(text).total_seconds()
    if seconds < _SHORTEST:
        raise ValueError("the daemon has more to do than to answer")
    return seconds


async def _print_once(settings: Settings) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --help
    from rich.text import Text  # noqa: PLC0415 - likewise

    from runner.cli.top.frame import text_of, whole  # noqa: PLC0415 - likewise
    from runner.cli.top.live import look  # noqa: PLC0415 - likewise
    from runner.cli.top.state import State  # noqa: PLC0415 - likewise

    state = State()
    await look(settings, state)
    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    lines = whole(state, time.time(), width)
    console = Console(width=width)
    if console.is_terminal and not console.is_dumb_terminal:
        console.print(Text("\n").join(lines), no_wrap=True, crop=False)
    else:
        print(text_of(lines))
