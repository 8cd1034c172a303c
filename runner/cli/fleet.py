"""``studio-runner fleet``: the runners that tell of themselves in a store, and what each does."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio
import msgspec

from runner.app.fleet import options
from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.errors import Misconfigured, StoreUnavailable
from runner.fleet.beat import Beat
from runner.fleet.place import FleetPlace, place_of
from runner.fleet.reading import Fleet, Reader, Seen
from runner.settings.parser import Parser
from runner.stores.base import StoreOptions
from runner.stores.pool import StorePool

_ABOUT = """Show the runners that tell of themselves in a store (--fleet-store of each daemon), and
what each does. A runner that has not done so for three of its intervals is late; one that is silent
for a day is forgotten, and so is one that said an hour ago that it ends."""
_SETTINGS = (
    "fleet_store",
    "s3_ca",
    "s3_cert",
    "s3_key",
    "s3_http_hosts",
    "google_store_credentials",
)
#: Seconds between two looks of --watch.
_PAUSE = 5.0
#: Seconds that a store may take for one look.
_PATIENCE = 30.0
#: Seconds for which one that has ended is still shown.
_ENDED = 3600.0
_QUEUES = 3
_CLEAR = "\x1b[H\x1b[2J"


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the fleet once, or until interrupted."""
    command = ClientCommand("fleet", _ABOUT, "[OPTION…]", settings=_SETTINGS, arguments=_arguments)
    settings, chosen = command.parse(argv, environ)
    named = chosen.store or settings.fleet_store
    if not named:
        raise Misconfigured(
            "no store is named: give the --fleet-store of the daemons here as --store"
        )
    place = place_of(named)
    return anyio.run(_show, place, options(settings, place), chosen, environ)


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "--store", metavar="URL", help="where the daemons tell it (default: --fleet-store)"
    )
    add_json(parser)
    parser.add_argument(
        "--watch", action="store_true", help=f"look again every {_PAUSE:g} s, until interrupted"
    )
    parser.add_argument("--all", action="store_true", help="also all that have ended in a day")
    parser.add_argument(
        "--prune", action="store_true", help="remove what was told more than a day ago"
    )


async def _show(
    place: FleetPlace, options: StoreOptions, chosen: Namespace, environ: Mapping[str, str]
) -> int:
    async with StorePool(options) as pool:
        reader = Reader(place, pool, environ)
        while True:
            try:
                _print(await _seen(reader, prune=chosen.prune), place, chosen)
            except StoreUnavailable as error:
                if not chosen.watch:
                    raise
                show.note(show.line(str(error)))
            if not chosen.watch:
                return 0
            await anyio.sleep(_PAUSE)


async def _seen(reader: Reader, *, prune: bool) -> Fleet:
    """Look once. Raises RunnerError, and no later than a person waits."""
    try:
        with anyio.fail_after(_PATIENCE):
            fleet = await reader.look()
            if prune:
                await reader.remove(fleet.forgotten)
            return fleet
    except TimeoutError:
        away = f"{reader.place} does not answer within {_PATIENCE:g} s"
        raise StoreUnavailable(away) from None
    except StoreUnavailable as error:
        raise StoreUnavailable(reader.place.explained(error)) from error


def _print(fleet: Fleet, place: FleetPlace, chosen: Namespace) -> None:
    runners = [one for one in fleet.runners if chosen.all or not one.is_over or one.age < _ENDED]
    if chosen.json:
        document = {
            "store": str(place),
            "runners": [facts(one) for one in runners],
            "forgotten": len(fleet.forgotten),
        }
        if chosen.watch:
            print(msgspec.json.encode(document).decode(), flush=True)
        else:
            show.as_json(document)
        return
    if chosen.watch and sys.stdout.isatty():
        print(_CLEAR, end="")
    _tables(runners, place)
    if fleet.forgotten:
        done = "were removed" if chosen.prune else "are not shown; --prune removes them"
        show.note(f"{len(fleet.forgotten)} that are silent for more than a day {done}")
    sys.stdout.flush()


def facts(seen: Seen) -> dict[str, Any]:
    """Return everything for scripts."""
    told = msgspec.to_builtins(seen.beat) if seen.beat is not None else {}
    judged = {"name": seen.name, "late": seen.is_late, "age": round(seen.age, 1)}
    return {**told, **judged, "unreadable": seen.unreadable}


def _tables(runners: Sequence[Seen], place: FleetPlace) -> None:
    if not runners:
        print(f"No runner tells of itself in {place}.")
        return
    # Whoever is late comes first: somebody has to look there.
    ordered = sorted(runners, key=lambda one: (not one.is_late, one.is_over, one.name))
    columns = ("host", "id", "version", "state", "for", "runs", "GPUs", "queues", "beat", "trouble")
    show.table("Runners", columns, [_row(one) for one in ordered])
    rows = [row for one in ordered if one.beat and not one.is_over for row in _runs(one.beat)]
    if rows:
        show.table("Experiments", ("key", "host", "queue", "phase", "for", "GPUs"), rows)


def _row(seen: Seen) -> Sequence[object]:
    beat, age = seen.beat, f"{show.duration(seen.age)} ago"
    if beat is None:
        why = f"this is no runner's: {seen.unreadable}"
        return (seen.name, "", "", "?", "", "", "", "", age, why)
    return (
        beat.host,
        beat.owner,
        beat.runner,
        f"late, was {beat.state}" if seen.is_late else beat.state,
        # By its own clock alone: ours may be another one.
        show.duration(beat.written - beat.since + seen.age),
        beat.experiments,
        f"{beat.gpus_used} of {beat.gpus_total}",
        _some(beat.queues),
        age,
        "; ".join(beat.trouble),
    )


def _some(names: Iterable[str]) -> str:
    first, rest = list(names)[:_QUEUES], list(names)[_QUEUES:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def _runs(beat: Beat) -> Iterable[Sequence[object]]:
    for one in beat.running:
        lasted = show.duration(beat.written - one.since)
        yield (one.key, beat.host, one.queue, one.phase, lasted, one.gpus)
    if beat.experiments > len(beat.running):
        yield (f"{beat.experiments - len(beat.running)} more", beat.host, "", "", "", "")
