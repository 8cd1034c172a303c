"""The lines of ``_metrics``, as the StudioML worker writes them: what a run takes, now and then.

``time: 1542.5 CPU: 93.5 mem: 1048576 gpu 0 util: 87 %, mem 2097152``: seconds since the epoch;
percent of the cores that the run was given; bytes of memory; for each card of its own the driver's
number, the share of time in which it computes, and bytes in use. The last line is written at the
end, with the average processor time and the largest memory of the whole run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio

from runner import blocking, log
from runner.errors import HostFault, host_fault
from runner.lifecycle.artifacts.regular import open_regular
from runner.lifecycle.board import Entry
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs import meter
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Bytes, Gpu, Request
from runner.resources.base import GpuReading

_log = log.get_logger(__name__)

LABEL = "_metrics"
#: A line every ten seconds for four days is 3 MB, which each checkpoint stores anew.
SHORTEST_INTERVAL = timedelta(seconds=10)
_LIMIT = blocking.Limit(2)
#: Seconds from the start to the first look at the cards, for the one line of a short run.
_FIRST_LOOK = 2.0
#: A driver that hangs is not waited for.
_LOOK = 5.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One line."""

    at: float
    #: Percent of the cores given.
    cpu: float
    memory: int
    #: The driver's number of each card, and what it says of itself.
    gpus: Sequence[tuple[int, GpuReading]] = ()

    def line(self) -> str:
        """Return it, in the form of the client's ``save_metrics``."""
        gpus = " ".join(_card(number, reading) for number, reading in self.gpus)
        return f"time: {self.at} CPU: {self.cpu:.1f} mem: {self.memory} {gpus} \n"


def _card(number: int, reading: GpuReading) -> str:
    use = reading.utilization
    util = "N/A" if use is None else f"{round(use * 100)} %"
    return f"gpu {number} util: {util}, mem {int(reading.used)}"


def logbook_interval(request: Request) -> timedelta | None:
    """Return the time between two lines; ``None``: only the last one is written."""
    interval = request.metrics_interval
    return None if interval is None else max(interval, SHORTEST_INTERVAL)


@dataclass(eq=False)
class Logbook:
    """Writes the lines of one run, where its request has a place for them."""

    parts: Parts
    entry: Entry
    workspace: Workspace
    interval: timedelta | None
    is_wanted: bool
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _has_failed: bool = field(default=False)

    async def keep(self, supervisor: int) -> None:
        """Write a line at each interval, until cancelled."""
        if not self.is_wanted:
            return
        await anyio.sleep(_FIRST_LOOK)
        await self._look()
        if self.interval is None:
            return
        before, since = await self._taken(supervisor), self.monotonic()
        while True:
            await anyio.sleep(self.interval.total_seconds())
            await self._look()
            now, at = await self._taken(supervisor), self.monotonic()
            cpu = self._percent(now.cpu_seconds - before.cpu_seconds, at - since)
            before, since = now, at
            await self._write(cpu, now.memory)

    async def close(self, end: Exit) -> None:
        """Write the last line; the cards' figures are those that were seen last."""
        if self.is_wanted:
            cpu = self._percent(end.cpu_time.total_seconds(), end.duration.total_seconds())
            await self._write(cpu, end.peak_memory)

    def _percent(self, cpu_seconds: float, seconds: float) -> float:
        cores = self.entry.record.allocation.cores
        return 100 * max(0.0, cpu_seconds) / (seconds * cores) if seconds > 0 and cores else 0.0

    async def _look(self) -> None:
        if self.entry.record.allocation.gpus:
            with anyio.move_on_after(_LOOK):
                await self.parts.cards.next_look()

    async def _taken(self, supervisor: int) -> meter.Taken:
        return await blocking.call(lambda _: meter.taken(supervisor), limit=_LIMIT)

    async def _write(self, cpu: float, memory: Bytes) -> None:
        cards = own_cards(
            self.entry.record.allocation.gpus,
            self.parts.cards.gpus,
            self.parts.cards.inventory.readings,
        )
        line = Figures(self.clock(), cpu, memory, cards).line()
        try:
            await blocking.call(lambda _: self._append(line), limit=_LIMIT)
        except HostFault as error:
            if not self._has_failed:
                _log.warning("no metrics", key=self.entry.record.key, trouble=str(error))
            self._has_failed = True

    def _append(self, line: str) -> None:
        """Append to the one file of the artifact; an experiment that keeps others there has it."""
        directory = self.workspace.directory(LABEL)
        try:
            self.workspace.make(LABEL)
            if any(name != LABEL for name in os.listdir(directory)):  # noqa: PTH208 - names alone
                return
            _append(directory / LABEL, line, self.workspace)
        except OSError as error:
            raise host_fault("no line of metrics can be written", error) from error


def own_cards(
    uuids: Sequence[str], gpus: Sequence[Gpu], readings: Mapping[str, GpuReading]
) -> list[tuple[int, GpuReading]]:
    """Return number and reading of each card of a run, in its order; of a silent one none."""
    numbers = {
        gpu.uuid: index if gpu.minor is None else gpu.minor for index, gpu in enumerate(gpus)
    }
    known = [uuid for uuid in uuids if uuid in numbers and uuid in readings]
    return [(numbers[uuid], readings[uuid]) for uuid in known if not readings[uuid].lost]


def _append(path: Path, line: str, workspace: Workspace) -> None:
    descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "a", encoding="ascii") as file:
        if workspace.identity is not None and os.fstat(descriptor).st_size == 0:
            os.fchown(descriptor, workspace.identity.uid, workspace.identity.gid)
        file.write(line)
