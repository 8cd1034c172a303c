"""What running experiments take of their shares, measured while somebody looks, and seldom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from runner import blocking
from runner.lifecycle.board import Board, Entry
from runner.lifecycle.runs import meter
from runner.lifecycle.tally import Stage

#: Seconds between two looks at least; and as many times as long as a look has taken.
_SECONDS, _SPARING = 4.0, 500.0
#: A value of before that is older says nothing of now.
_STALE = 60.0
_LIMIT = blocking.Limit(1)


@dataclass(slots=True)
class _Seen:
    """Two looks at one run."""

    taken: meter.Taken
    at: float
    cores: float | None = None


@dataclass(eq=False)
class Gauges:
    """Looks at all that runs when asked, unless it has just been done."""

    board: Board
    clock: Callable[[], float] = time.monotonic
    look_at: Callable[[int], meter.Taken] = meter.glanced
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _next: float = 0.0
    _is_looking: bool = False

    async def look(self) -> None:
        """Measure where it is time for it; who asks meanwhile is not kept waiting."""
        began = self.clock()
        if self._is_looking or began < self._next:
            return
        running = {e.record.run: e.supervisor for e in self.board if _is_running(e)}
        self._seen = {run: seen for run, seen in self._seen.items() if run in running}
        self._is_looking = True
        try:
            found, spent = await blocking.call(lambda _: self._all(running.items()), limit=_LIMIT)
        finally:
            self._is_looking = False
        for run, taken, at in found:
            self._note(run, taken, at)
        self._next = began + max(_SECONDS, _SPARING * spent)

    def of(self, entry: Entry) -> dict[str, Any]:
        """Return what is known of an attempt, each ``None`` where nothing is."""
        seen = self._seen.get(entry.record.run) if _is_running(entry) else None
        return {
            "cores": None if seen is None else seen.cores,
            "memory": None if seen is None else seen.taken.memory,
            "disk": entry.disk_held,
        }

    def _all(
        self, running: Iterable[tuple[str, int]]
    ) -> tuple[list[tuple[str, meter.Taken, float]], float]:
        began = time.thread_time()
        found = [(run, self.look_at(supervisor), self.clock()) for run, supervisor in running]
        return found, time.thread_time() - began

    def _note(self, run: str, taken: meter.Taken, at: float) -> None:
        before = self._seen.get(run)
        cores = None
        if before is not None and 0 < at - before.at <= max(_STALE, 2 * _SECONDS):
            used = taken.cpu_seconds - before.taken.cpu_seconds
            cores = round(max(0.0, used) / (at - before.at), 3)
        self._seen[run] = _Seen(taken, at, cores)


def _is_running(entry: Entry) -> bool:
    return entry.stage is Stage.RUN and entry.supervisor > 0
