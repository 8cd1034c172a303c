"""``studio-runner plot``: a number over the parameters of a sweep, or over the steps of runs."""

from __future__ import annotations

import shutil
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.cli import canvas, png, show, stores
from runner.cli.arguments import ClientCommand
from runner.cli.curves import Chart, is_step, over, over_steps
from runner.cli.found_results import SETTINGS, Found, add_which
from runner.client.values import STEPS
from runner.errors import Misconfigured
from runner.settings.parser import Parser

_ABOUT = (
    "Plot a number that experiments printed as JSON: the last one of each over a parameter (--x "
    "lr), with a line for each value of the others; or, without --x, every one that each printed, "
    f"over the {', '.join(STEPS[:-1])} or {STEPS[-1]} of the same line, else one after the other."
)
_MOST_WIDE, _HIGH = 100, 16


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Draw in the terminal, or into a file."""
    command = ClientCommand(
        "plot",
        _ABOUT,
        "SWEEP|KEY… --y NAME [--x NAME] [--png FILE]",
        settings=SETTINGS,
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    if not chosen.y:
        raise Misconfigured("say what to plot: --y accuracy")
    with stores.opened(settings, chosen, environ) as shops:
        chart = _chart(Found(settings, chosen, shops), chosen)
    if chosen.png:
        path = Path(chosen.png).expanduser()
        png.write(chart, path)
        show.note(f"wrote {path}")
    else:
        _draw(chart)
    return 0


def _arguments(parser: Parser) -> None:
    add_which(parser)
    parser.add_argument("--y", metavar="NAME", help="the number, such as accuracy")
    parser.add_argument(
        "--x",
        metavar="NAME",
        default="",
        help=f"a parameter, another number, or one of {', '.join(STEPS)} (default: what is told "
        "of these)",
    )
    parser.add_argument(
        "--by", metavar="NAME", default="", help="a line for each (default: all other parameters)"
    )
    parser.add_argument("--png", metavar="FILE", help="draw into a file (the extra plot)")


def _chart(found: Found, chosen: Namespace) -> Chart:
    results = found.results()
    if not chosen.x or is_step(results, chosen.x):
        return over_steps(results, chosen.y, chosen.x)
    return over(results, chosen.x, chosen.y, chosen.by)


def _draw(chart: Chart) -> None:
    from rich.console import Console  # noqa: PLC0415 - it is slow to import
    from rich.text import Text  # noqa: PLC0415 - likewise

    size = shutil.get_terminal_size()
    console = Console(file=sys.stdout, width=size.columns, highlight=False)
    has_colours = console.color_system is not None and not console.no_color
    ability = canvas.Ability.of(console.encoding, colours=has_colours)
    for line in canvas.drawn(chart, min(size.columns, _MOST_WIDE), _HIGH, ability):
        pieces = ((show.line(text), ink) for text, ink in line)
        console.print(Text.assemble(*pieces), soft_wrap=True)
