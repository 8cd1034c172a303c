"""An experiment that does nothing with its cards is named, or ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.board import Entry
from runner.lifecycle.gpus.idle import Glance, IdleWatch, Stillness, after
from runner.lifecycle.runs.record import Record
from runner.lifecycle.tally import Stage
from runner.model import Allocation, Bytes, Cause, Message, News
from runner.resources.base import GpuInventory, GpuReading
from tests.acceptance.box import Box
from tests.lifecycle.machine import Machine

HALF_HOUR = 1800.0
glances = st.builds(
    Glance,
    st.lists(st.sampled_from([None, 0.0, 0.5]), max_size=2).map(tuple),
    st.just((0,)),
    st.sampled_from([(("output", 1, 1),), (("output", 2, 2),)]),
)


@given(st.lists(st.tuples(glances, st.floats(0, 100)), min_size=1, max_size=10))
def test_stillness_is_as_long_as_there_was_no_sign_of_life(
    story: list[tuple[Glance, float]],
) -> None:
    """It begins anew with each one, and what nobody can know is one."""
    now = 0.0
    still = after(None, story[0][0], now)
    assert still == Stillness(story[0][0], now)
    for glance, pause in story[1:]:
        now += pause
        before, still = still, after(still, glance, now)
        is_dead = bool(glance.utilization) and all(one == 0.0 for one in glance.utilization)
        if is_dead and before.glance.output == glance.output:
            assert still.since == before.since
        else:
            assert still == Stillness(glance, now)


class Bench:
    """A machine with one experiment that is believed to run on a card."""

    def __init__(self, machine: Machine, *, ends: bool = False) -> None:
        self.machine = machine
        self.now = 0.0
        self.output = machine.box.root / "output"
        self.output.write_text("epoch 1\n")
        allocation = Allocation(1, Bytes(0), Bytes(0), ("GPU-1",))
        message = Message("m", b"", "local_test")
        record = Record("run-1", message, "local", "p", "t", "exp_1", "demo", 1, allocation)
        self.entry = Entry(record, output=self.output)
        self.entry.begin(Stage.RUN)
        machine.parts.board.enter(self.entry)
        self.watch = IdleWatch(machine.parts, HALF_HOUR, ends=ends, interval=1, clock=self.clock)

    def clock(self) -> float:
        """Return the time that a test says."""
        return self.now

    async def look(self, minutes: float, reading: GpuReading) -> None:
        """Look when so many minutes are over."""
        self.now += 60 * minutes
        self.machine.parts.cards.inventory = GpuInventory(readings={"GPU-1": reading})
        await self.watch.look()

    def told(self) -> list[str]:
        """Return what was said of idle experiments."""
        return [one.text for one in self.machine.reports if one.news is News.GPU_IDLE]


STILL, BUSY, DUMB = (GpuReading(utilization=one) for one in (0.0, 0.4, None))


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Return a daemon's parts."""
    with Box(tmp_path) as box:
        async with Machine.open(box) as machine:
            yield machine
            with suppress(KeyError):
                machine.parts.board.leave("run-1")


@pytest.mark.anyio
async def test_an_idle_experiment_is_named_once_each_time(machine: Machine) -> None:
    """In the news and in the status, until it works again."""
    bench = Bench(machine)
    for _ in range(5):
        await bench.look(10, STILL)
    assert bench.told() == ["exp_1: its GPU did nothing for 30m, and it wrote nothing"]
    assert bench.entry.phase == "running, idle"
    await bench.look(10, BUSY)
    assert bench.entry.phase == "running"
    for _ in range(5):
        await bench.look(10, STILL)
    assert len(bench.told()) == 2
    assert bench.entry.stopper.cause is None


@pytest.mark.anyio
async def test_output_use_and_ignorance_are_signs_of_life(machine: Machine) -> None:
    """Also output of which only the end is kept, and memory that comes and goes."""
    bench = Bench(machine)
    piece = machine.parts.records.place("run-1") / "tail.00000000000000000001"
    for reading in (STILL, BUSY, DUMB, STILL, STILL, GpuReading(Bytes(1), utilization=0.0)):
        if reading is STILL:
            piece.write_text(str(bench.now))
        await bench.look(29, reading)
    assert bench.told() == []


@pytest.mark.anyio
async def test_an_idle_experiment_is_ended_where_the_operator_wants_it(machine: Machine) -> None:
    """With the cause ``idle``."""
    bench = Bench(machine, ends=True)
    await bench.look(0, STILL)
    await bench.look(31, STILL)
    assert bench.entry.stopper.cause is Cause.IDLE
    assert "did nothing for 30m" in bench.entry.stopper.detail
    assert len(bench.told()) == 1
