"""Runs whose card is gone are ended, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.lifecycle.board import Entry
from runner.lifecycle.gpus.gone import LOOKS, GoneWatch
from runner.lifecycle.runs.record import Record
from runner.lifecycle.tally import Stage
from runner.model import Allocation, Bytes, Cause, Message
from runner.resources.base import GpuInventory, GpuReading
from tests.acceptance.box import Box
from tests.lifecycle.machine import Machine

pytestmark = pytest.mark.anyio

WELL = GpuReading()
GONE = GpuReading(lost="GPU is lost", is_gone=True)
#: As all cards say while the driver is exchanged.
SILENT = GpuReading(lost="the NVIDIA driver does not answer: Driver/library version mismatch")


class Bench:
    """A machine with one experiment that is believed to run on two cards."""

    def __init__(self, machine: Machine, stage: Stage = Stage.RUN) -> None:
        self.machine = machine
        allocation = Allocation(1, Bytes(0), Bytes(0), ("GPU-1", "GPU-2"))
        message = Message("m", b"", "local_test")
        record = Record("run-1", message, "local", "p", "t", "exp_1", "demo", 1, allocation)
        self.entry = Entry(record)
        self.entry.begin(stage)
        machine.parts.board.enter(self.entry)
        self.watch = GoneWatch(machine.parts, interval=1)

    def look(self, reading: GpuReading, times: int = 1) -> Cause | None:
        """Have the second card say so in some looks; return why the run was ended."""
        readings = {"GPU-1": WELL, "GPU-2": reading, "GPU-3": GONE}
        self.machine.parts.cards.inventory = GpuInventory(readings=readings)
        for _ in range(times):
            self.watch.look()
        return self.entry.stopper.cause


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Return a daemon's parts."""
    with Box(tmp_path) as box:
        async with Machine.open(box) as machine:
            yield machine
            machine.parts.board.leave("run-1")


async def test_a_run_whose_card_stays_gone_is_ended(machine: Machine) -> None:
    """For the card's fault, with the card and what the driver says of it."""
    bench = Bench(machine)
    assert bench.look(GONE, LOOKS - 1) is None
    assert bench.look(GONE) is Cause.GPU_FAULT
    assert bench.entry.stopper.detail == "GPU-2 does not answer: GPU is lost"


async def test_a_card_that_comes_back_ends_nothing(machine: Machine) -> None:
    """The looks begin anew."""
    bench = Bench(machine)
    for _ in range(3):
        assert bench.look(GONE, LOOKS - 1) is None
        assert bench.look(WELL) is None


async def test_a_driver_that_does_not_answer_ends_nothing(machine: Machine) -> None:
    """What computes goes on while the driver's files are exchanged below it."""
    assert Bench(machine).look(SILENT, 3 * LOOKS) is None


async def test_what_does_not_run_yet_is_left_alone(machine: Machine) -> None:
    """It has nothing on the card, and is told when it begins."""
    assert Bench(machine, Stage.FETCH).look(GONE, 3 * LOOKS) is None
