"""Experiments that hold cards and do nothing: when that is so, who is told, and what is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import anyio

from runner import blocking
from runner.lifecycle.announcing import about
from runner.lifecycle.board import Entry
from runner.lifecycle.parts import Parts
from runner.lifecycle.tally import Stage
from runner.model import Cause, News
from runner.request.units import format_duration
from runner.supervisor import records

_LIMIT = blocking.Limit(1)

Written = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of what holds an output: any write changes it."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What is seen of a running experiment from outside."""

    #: Of each of its cards, 0 to 1; ``None`` where nobody knows.
    utilization: tuple[float | None, ...]
    #: Memory in use on each of them.
    used: tuple[int, ...]
    output: Written


@dataclass(frozen=True, slots=True)
class Stillness:
    """How long an experiment has shown no sign of life."""

    glance: Glance
    #: By our clock.
    since: float
    is_told: bool = False


def after(before: Stillness | None, glance: Glance, now: float) -> Stillness:
    """Return how still it is now; pure. What nobody knows counts as a sign of life."""
    computes = not glance.utilization or any(one is None or one > 0 for one in glance.utilization)
    if (
        before is None
        or computes
        or replace(glance, utilization=()) != replace(before.glance, utilization=())
    ):
        return Stillness(glance, now)
    return replace(before, glance=glance)


@dataclass(eq=False)
class IdleWatch:
    """Names such experiments, once for each time that they fall asleep, or ends them."""

    parts: Parts
    #: Seconds without a sign of life.
    longest: float
    #: They are ended, not only named.
    ends: bool
    #: Seconds between two looks.
    interval: float
    clock: Callable[[], float] = time.monotonic
    _still: dict[str, Stillness] = field(default_factory=dict)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await anyio.sleep(self.interval)
            await self.look()

    async def look(self) -> None:
        """Look once, at everything that runs with cards."""
        running = [
            entry
            for entry in self.parts.board
            if entry.stage is Stage.RUN and entry.record.allocation.gpus
        ]
        runs = {entry.record.run for entry in running}
        self._still = {run: still for run, still in self._still.items() if run in runs}
        for entry in running:
            await self._look_at(entry)

    async def _look_at(self, entry: Entry) -> None:
        run, now = entry.record.run, self.clock()
        still = after(self._still.get(run), await self._glance(entry), now)
        is_idle = now - still.since >= self.longest
        if is_idle and not still.is_told:
            still = replace(still, is_told=True)
            entry.idle_since = time.time() - (now - still.since)
            await self._act(entry)
        if not is_idle:
            entry.idle_since = None
        self._still[run] = still

    async def _act(self, entry: Entry) -> None:
        long = format_duration(timedelta(seconds=self.longest))
        cards = len(entry.record.allocation.gpus)
        whose = "its GPU did" if cards == 1 else f"its {cards} GPUs did"
        said = f"{whose} nothing for {long}, and it wrote nothing"
        await self.parts.report(about(entry, News.GPU_IDLE, f"{entry.record.key}: {said}"))
        if self.ends:
            entry.stopper.stop(Cause.IDLE, said)

    async def _glance(self, entry: Entry) -> Glance:
        known = self.parts.cards.inventory.readings
        readings = [known.get(uuid) for uuid in entry.record.allocation.gpus]
        directory = self.parts.records.directory / entry.record.run
        written = await blocking.call(lambda _: _written(entry.output, directory), limit=_LIMIT)
        return Glance(
            tuple(None if one is None or one.lost else one.utilization for one in readings),
            tuple(0 if one is None else one.used for one in readings),
            written,
        )


def _written(output: Path | None, directory: Path) -> Written:
    """Look at the file of an output and at the pieces that what is too long for it goes to."""
    paths = [*directory.glob(f"{os.fsdecode(records.TAIL)}*"), *([output] if output else [])]
    found = []
    for path in sorted(paths):
        try:
            status = path.lstat()
        except OSError:  # a piece that was just dropped
            continue
        found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)
