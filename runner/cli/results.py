"""``studio-runner results``: what came of the experiments of a sweep or a project."""

from __future__ import annotations

import csv
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from runner.cli import show, stores
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.found_results import SETTINGS, Found, add_which
from runner.cli.masking import redactor_for
from runner.cli.result_rows import Rows
from runner.client.results import Result
from runner.errors import Misconfigured
from runner.settings.parser import Parser

_ABOUT = (
    "Show experiments side by side: the parameters of a sweep, how each ended and how long it "
    "took, and the last of each number that it printed as JSON, such as "
    '{"accuracy": 0.97}. No daemon is asked: all this is in the store.'
)
#: Seconds between two looks.
_LOOK_EVERY = 1.0


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Show results; with --watch exit status 1 when not all have succeeded."""
    command = ClientCommand(
        "results",
        _ABOUT,
        "SWEEP|KEY…   or   results --project P",
        settings=SETTINGS,
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(joined(argv, "--sort"), environ)
    if chosen.json and chosen.csv:
        raise Misconfigured("--json or --csv, not both")
    with stores.opened(settings, chosen, environ) as shops:
        found = Found(settings, chosen, shops)
        results = _watched(found, chosen) if chosen.watch else found.results()
    _print(_rows(results, chosen), chosen)
    return int(chosen.watch and not all(result.good for result in results))


def joined(argv: Sequence[str], flag: str) -> Sequence[str]:
    """Join a flag with a value that begins like a flag: ``--sort -accuracy``."""
    words = list(argv)
    for place in range(len(words) - 1):
        if words[place] == flag:
            return [*words[:place], f"{flag}={words[place + 1]}", *words[place + 2 :]]
    return words


def _arguments(parser: Parser) -> None:
    add_which(parser)
    parser.add_argument(
        "--sort", metavar="NAME", help="by a number, a parameter or a column; -NAME: greatest first"
    )
    parser.add_argument(
        "--values", metavar="NAME,…", default="", help="only these of the numbers (default: all)"
    )
    parser.add_argument(
        "--csv", action="store_true", help="print comma-separated values, all of it"
    )
    parser.add_argument("--watch", action="store_true", help="go on until all have ended")
    add_json(parser)


def _rows(results: Sequence[Result], chosen: Namespace) -> Rows:
    rows = Rows(results, [name for name in chosen.values.split(",") if name])
    return rows.sorted(chosen.sort) if chosen.sort else rows


def _print(rows: Rows, chosen: Namespace) -> None:
    redactor = redactor_for()
    if chosen.json:
        facts = [{**one, "detail": redactor.redact(str(one["detail"]))} for one in rows.json()]
        show.as_json(facts)
    elif chosen.csv:
        columns, cells = rows.csv()
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        for row in cells:
            writer.writerow([redactor.redact(str(cell)) for cell in row])
    else:
        show.table("Results", *rows.table())


def _watched(found: Found, chosen: Namespace) -> Sequence[Result]:
    """Look again and again until all have ended: live on a terminal, news in lines elsewhere."""
    said: dict[str, str] = {}
    with _screen(chosen) as screen:
        while True:
            results = found.results()
            if screen is not None:
                screen.update(show.drawn("Results", *Rows(results).table()))
            else:
                _tell(results, said)
            if all(result.ended for result in results):
                return results
            time.sleep(_LOOK_EVERY)


def _screen(chosen: Namespace) -> Any:
    if not sys.stdout.isatty() or chosen.json or chosen.csv:
        return nullcontext()
    from rich.live import Live  # noqa: PLC0415 - pipes do without

    return Live(refresh_per_second=4, transient=True)


def _tell(results: Sequence[Result], said: dict[str, str]) -> None:
    for result in results:
        words = result.cause or result.state
        if said.get(result.key) != words:
            said[result.key] = words
            point = " ".join(f"{name}={text}" for name, text in result.parameters.items())
            show.note(show.line(f"{result.key}: {words}{f' ({point})' if point else ''}"))
