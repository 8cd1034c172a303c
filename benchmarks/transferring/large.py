"""One large object down and up, by everybody in turn, round after round."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from benchmarks.transferring import limits
from benchmarks.transferring.contenders import RIVALS, Contender, Place, all_contenders

PIECE = 1 << 20
Times = dict[str, list[float]]


def measure(place: Place, size: int, rounds: int) -> list[Table]:
    """Return the tables of downloads and of uploads."""
    with all_contenders(place) as contenders:
        return _measured(place, contenders, size, rounds)


def _measured(place: Place, contenders: list[Contender], size: int, rounds: int) -> list[Table]:
    source, target = place.folder / "source", place.folder / "target"
    write_random(source, size)
    contenders[-1].up(source, "large")
    contenders[-1].down("large", target)  # the first read of what was just stored is slower
    tables = []
    for what, act in (
        ("down", lambda one: one.down("large", target)),
        ("up", lambda one: one.up(source, "stored")),
    ):
        own = {
            "loopback alone": lambda: limits.loopback(size),
            "disk write alone": lambda: limits.disk_write(target, size),
            "disk read alone": lambda: limits.disk_read(source),
        }
        times = in_turn(contenders, act, own, rounds, lambda: settle(place, target))
        tables.append(_table(f"{size >> 20} MiB {what}", times, size, _limits_of(what)))
    source.unlink()
    return tables


def in_turn(
    contenders: list[Contender],
    act: Callable[[Contender], None],
    own: dict[str, Callable[[], float]],
    rounds: int,
    settle: Callable[[], None],
) -> Times:
    """Return the seconds of each; each round has an order of its own, the same in every run.

    What the one before has left the machine with is felt: nobody follows the same one each time.
    """
    times: Times = {}
    for number in range(rounds):
        lots = random.Random(number)  # noqa: S311 - no secret
        for contender in lots.sample(contenders, len(contenders)):
            settle()
            begun = time.perf_counter()
            act(contender)
            times.setdefault(contender.name, []).append(time.perf_counter() - begun)
        for name, limit in own.items():
            settle()
            times.setdefault(name, []).append(limit())
    return times


def settle(place: Place, *files: Path) -> None:
    """Bring everybody to the same state: nothing to be written, no object and file to replace."""
    for file in files:
        file.unlink(missing_ok=True)
    place.server.request("DELETE", f"/{place.bucket}/stored")
    os.sync()


def write_random(file: Path, size: int) -> None:
    """Make a file that compresses to nothing less."""
    with file.open("wb", buffering=0) as out:
        for _ in range(size // PIECE):
            out.write(os.urandom(PIECE))


def _limits_of(what: str) -> tuple[str, str]:
    return ("loopback alone", "disk write alone" if what == "down" else "disk read alone")


def _table(title: str, times: Times, size: int, shown: tuple[str, str]) -> Table:
    """Show medians, and each speed as a part of the best rival's and of the machine's own.

    The parts are compared round by round: a machine has moods.
    """
    medians = {name: statistics.median(found) for name, found in times.items()}
    best = [min(found) for found in zip(*(times[name] for name in RIVALS), strict=True)]
    columns = ("seconds", "MB/s", "of the best rival", *(f"of {name}" for name in shown))
    table = Table(title, *columns)
    for name, seconds in medians.items():
        if "alone" in name and name not in shown:
            continue
        shares = [share(limit, times[name]) for limit in (best, *(times[one] for one in shown))]
        table.add_row(name, f"{seconds:.2f}", f"{size / seconds / 1e6:.0f}", *shares)
    return table


def share(of: list[float], times: list[float]) -> str:
    """Return the median of how much faster the one was, round by round."""
    return f"{statistics.median(one / time for one, time in zip(of, times, strict=True)):.2f}"
