"""What is kept for cards is there when an experiment for a card comes: nobody is in its way."""

from __future__ import annotations

import anyio
import pytest

from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.gpus.choice import choose_gpus
from runner.model import Bytes, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve
from runner.resources.ledger import Ledger
from tests.lifecycle.simulation import Paper

pytestmark = pytest.mark.anyio

CARDS = tuple(Gpu(f"GPU-{number}", "L4", Bytes(24), 8) for number in (0, 1))
TOTAL = Capacity(8, Bytes(80), Bytes(0), CARDS)
PLAIN, TRAINING = Needs(cores=4), Needs(cores=2, gpu_count=1)


class Clock:
    """A clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def test_a_slot_is_given_although_the_rest_is_kept() -> None:
    """Nobody knows what the message needs before it is there; what it may take is decided then."""
    ledger = Ledger(TOTAL, choose_gpus, reserve=GpuReserve(cores=2))
    intake = Intake(ledger)
    assert intake.take(PLAIN, intake.seat(Paper("plain"))) is not None
    slot = await intake.slot()
    assert slot.grow(Needs(cores=1)) is None
    slot.give_back()
    slot = await intake.slot()
    held = slot.grow(TRAINING)
    assert held is not None


async def test_a_wait_without_a_card_bars_nobody_from_the_cards() -> None:
    """However old it is: cores are kept for cards, and its own kind does not overtake it."""
    clock = Clock()
    ledger = Ledger(TOTAL, choose_gpus, reserve=GpuReserve(cores=2))
    intake = Intake(ledger, clock=clock)
    seats = [intake.seat(Paper(name)) for name in ("plain", "other", "training")]
    running = intake.take(Needs(cores=2), seats[0])
    assert running is not None
    async with anyio.create_task_group() as group:
        group.start_soon(intake.reserved, PLAIN, seats[0])
        await anyio.wait_all_tasks_blocked()
        clock.now += 3600
        assert intake.may_take(seats[1])
        assert intake.take(Needs(cores=1), seats[1]) is None
        assert intake.take(TRAINING, seats[2]) is not None
        assert intake.take(TRAINING, seats[2]) is not None
        assert not intake.may_take(seats[1]), "all cards are in use: nothing is kept any more"
        intake.release(running)
        await anyio.wait_all_tasks_blocked()
        assert ledger.free.cores == 0, "it has what it waited for"


async def test_without_a_reserve_the_oldest_wait_bars_all() -> None:
    """As ever."""
    clock = Clock()
    ledger = Ledger(TOTAL, choose_gpus)
    intake = Intake(ledger, clock=clock)
    seats = [intake.seat(Paper(name)) for name in ("plain", "training")]
    assert intake.take(Needs(cores=6), seats[0]) is not None
    async with anyio.create_task_group() as group:
        group.start_soon(intake.reserved, PLAIN, seats[0])
        await anyio.wait_all_tasks_blocked()
        assert intake.may_take(seats[1])
        clock.now += 3600
        assert not intake.may_take(seats[1])
        intake.close()
