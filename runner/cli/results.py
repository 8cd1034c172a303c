"""``studio-runner results``: what came of the experiments of a sweep or a project."""

from __future__ import annotations

import csv
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from runner.cli import result_blocks, show, stores
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.found_results import SETTINGS, Found, add_which
from runner.cli.masking import redactor_for
from runner.cli.result_rows import Rows
from runner.client.results import Result
from runner.errors import Misconfigured, Unavailable
from runner.settings.parser import Parser

_ABOUT = (
    "Show experiments side by side: the parameters of a sweep, how each ended and how long it "
    "took, and the last of each number that it printed as JSON, such as "
    '{"accuracy": 0.97}. No daemon is asked: all this is in the store.'
)
#: Seconds between two looks, at least; a store may want more.
_LOOK_EVERY = 1.0
#: One part in so many of the time is spent looking: a store may be far away, and dear.
_REST = 3


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
    rows = _rows(results, chosen, is_late=chosen.watch)
    _note_absent(rows, chosen)
    _print(rows, chosen)
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


def _wanted(chosen: Namespace) -> Sequence[str]:
    return [name for name in chosen.values.split(",") if name]


def _rows(results: Sequence[Result], chosen: Namespace, *, is_late: bool) -> Rows:
    """Return what is asked for; who has waited for hours gets a table whatever its order."""
    rows = Rows(results, _wanted(chosen))
    try:
        return rows.sorted(chosen.sort) if chosen.sort else rows
    except Misconfigured as error:
        if not is_late:
            raise
        show.note(f"note: not sorted: {error}")
        return rows


def _note_absent(rows: Rows, chosen: Namespace) -> None:
    for name in _wanted(chosen):
        if name not in rows.told:
            said = f"they told {', '.join(rows.told)}" if rows.told else "they told none"
            show.note(show.line(f"note: no experiment told a number {name!r}: {said}"))


def _print(rows: Rows, chosen: Namespace) -> None:
    redactor = redactor_for()
    if chosen.json:
        facts = [{**one, "detail": redactor.redact(str(one["detail"]))} for one in rows.json()]
        show.as_json(facts)
    elif chosen.csv:
        columns, cells = rows.csv()
        # With this end of line a carriage return is quoted, too.
        writer = csv.writer(_Lines(), lineterminator="\r\n")
        writer.writerow(columns)
        for row in cells:
            writer.writerow([redactor.redact(str(cell)) for cell in row])
    else:
        _show(rows)


def _show(rows: Rows) -> None:
    if not sys.stdout.isatty():
        show.table("Results", *rows.table())
        return
    from rich.console import Console  # noqa: PLC0415 - pipes do without

    Console().print(result_blocks.drawn(*rows.table()))


class _Lines:
    """Standard output, whose lines end as everybody's."""

    def write(self, row: str) -> int:
        """Write a row."""
        return sys.stdout.write(row.removesuffix("\r\n") + "\n")


def _watched(found: Found, chosen: Namespace) -> Sequence[Result]:
    """Look again and again until all have ended: live on a terminal, news in lines elsewhere."""
    said: dict[str, str] = {}
    with _screen(chosen) as screen:
        while True:
            begun = time.monotonic()
            results = _looked(found)
            if screen is not None and results:
                screen.update(result_blocks.drawn(*_so_far(results, chosen).table()))
            else:
                _tell(results, said)
            if results and all(result.ended for result in results):
                return results
            took = time.monotonic() - begun
            time.sleep(max(_LOOK_EVERY, found.look_every, _REST * took))


def _looked(found: Found) -> Sequence[Result]:
    """Return how they stand; nothing where the store is away, which may be back before the end."""
    try:
        return found.results()
    except Unavailable as error:
        show.note(f"note: {error}")
        return []


def _so_far(results: Sequence[Result], chosen: Namespace) -> Rows:
    """Return the rows of a live table, sorted as soon as something tells what to sort by."""
    rows = Rows(results, _wanted(chosen))
    return rows.sorted(chosen.sort) if chosen.sort and rows.knows(chosen.sort) else rows


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
