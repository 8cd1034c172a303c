"""Many small artifacts, a few of each experiment side by side, one experiment after another."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from rich.table import Table

from benchmarks.transferring.contenders import AT_ONCE, RIVALS, Contender, Place, all_contenders
from benchmarks.transferring.large import settle, share

#: Bytes of one artifact: a script, a log, a small result.
SIZE = 20_000


def measure(place: Place, count: int, experiments: int, rounds: int) -> Table:
    """Return the table of the times for one object, up and down."""
    sources, targets = place.folder / "sources", place.folder / "targets"
    sources.mkdir()
    targets.mkdir()
    names = [f"small-{number}" for number in range(count)]
    for name in names:
        (sources / name).write_bytes(os.urandom(SIZE))
    each = count // experiments
    sessions = [names[first : first + each] for first in range(0, count, each)]
    with all_contenders(place) as contenders:
        times = _times(place, contenders, sessions, rounds)
    return _table(times, count, experiments)


def _times(
    place: Place, contenders: list[Contender], sessions: list[list[str]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Return the seconds for one object, by contender and direction, round by round."""
    sources, targets = place.folder / "sources", place.folder / "targets"
    count = sum(map(len, sessions))
    times: dict[str, dict[str, list[float]]] = {one.name: {} for one in contenders}
    for number in range(rounds):
        shift = number % len(contenders)
        for one in [*contenders[shift:], *contenders[:shift]]:
            for what in ("up", "down"):
                settle(place, *targets.iterdir())
                took = _all_sessions(one, what, sessions, sources, targets)
                times[one.name].setdefault(what, []).append(took / count)
    return times


def _all_sessions(
    one: Contender, what: str, sessions: list[list[str]], sources: Path, targets: Path
) -> float:
    begun = time.perf_counter()
    for names in sessions:
        if what == "up":
            one.many_up([(name, sources / name) for name in names])
        else:
            one.many_down([(name, targets / name) for name in names])
    return time.perf_counter() - begun


def _table(times: dict[str, dict[str, list[float]]], count: int, experiments: int) -> Table:
    title = f"{count} objects of {SIZE} bytes, {experiments} experiments, {AT_ONCE} at once"
    table = Table(title, "ms each, down", "of the best rival", "ms each, up", "of the best rival")
    medians = {
        name: {what: statistics.median(found) for what, found in both.items()}
        for name, both in times.items()
    }
    best = {
        what: [min(found) for found in zip(*(times[name][what] for name in RIVALS), strict=True)]
        for what in ("down", "up")
    }
    for name, both in medians.items():
        cells = []
        for what in ("down", "up"):
            cells += [f"{both[what] * 1000:.2f}", share(best[what], times[name][what])]
        table.add_row(name, *cells)
    return table
