"""What running experiments are said to take."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from runner.lifecycle.board import Board, Entry
from runner.lifecycle.gauges import Gauges
from runner.lifecycle.runs.meter import Taken
from runner.lifecycle.tally import Stage
from runner.model import Bytes
from tests.lifecycle.records import a_record

pytestmark = pytest.mark.anyio

NOTHING = {"cores": None, "memory": None, "disk": None}


@dataclass
class Process:
    """A process that takes half a core, and who looks at it."""

    now: float = 0.0
    looks: list[int] = field(default_factory=list)

    def look(self, supervisor: int) -> Taken:
        """Look."""
        self.looks.append(supervisor)
        return Taken(self.now / 2, Bytes(7))


def entry(run: str, stage: Stage) -> Entry:
    """Return an attempt."""
    return Entry(a_record(run), stage=stage, supervisor=42)


async def test_what_runs_is_looked_at_now_and_then_and_only_when_somebody_asks() -> None:
    """Cores are known from the second look on; what does not run takes nothing."""
    board, process = Board(), Process()
    running, fetching = entry("a", Stage.RUN), entry("b", Stage.FETCH)
    board.enter(running)
    board.enter(fetching)
    gauges = Gauges(board, lambda: process.now, process.look)
    assert gauges.of(running) == NOTHING
    await gauges.look()
    assert gauges.of(running) == {"cores": None, "memory": 7, "disk": None}
    process.now = 1.0
    await gauges.look()
    assert process.looks == [42]
    process.now = 10.0
    running.disk_held = 5
    await gauges.look()
    assert gauges.of(running) == {"cores": 0.5, "memory": 7, "disk": 5}
    assert gauges.of(fetching) == NOTHING
    running.begin(Stage.UPLOAD)
    assert gauges.of(running)["cores"] is None


async def test_an_average_over_long_ago_is_none() -> None:
    """After an hour without anybody asking nobody knows what it takes now."""
    board, process = Board(), Process()
    running = entry("a", Stage.RUN)
    board.enter(running)
    gauges = Gauges(board, lambda: process.now, process.look)
    await gauges.look()
    process.now = 3600.0
    await gauges.look()
    assert gauges.of(running)["cores"] is None
