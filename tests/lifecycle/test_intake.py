"""Slots are given in turn, and what is too big now gets its place in the end."""

from __future__ import annotations

import anyio
import pytest

from runner.lifecycle.intake import LEAST, Intake, Slot
from runner.model import Allocation, Bytes, Capacity, Needs

pytestmark = pytest.mark.anyio

NOTHING = Bytes(0)


class Cores:
    """A ledger of cores alone."""

    def __init__(self, cores: int) -> None:
        self._cores = self._all = cores

    @property
    def free(self) -> Capacity:
        """What is left."""
        return Capacity(self._cores, NOTHING, NOTHING)

    @property
    def total(self) -> Capacity:
        """What there is."""
        return Capacity(self._all, NOTHING, NOTHING)

    def reserve(self, needs: Needs) -> Allocation | None:
        """Take cores."""
        if needs.cores > self._cores:
            return None
        self._cores -= needs.cores
        return Allocation(needs.cores, NOTHING, NOTHING)

    def release(self, allocation: Allocation) -> None:
        """Give cores back."""
        self._cores += allocation.cores

    def restore(self, allocation: Allocation) -> None:
        """Take cores without asking."""
        self._cores -= allocation.cores


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def settle_down() -> None:
    """Let every task run until it waits."""
    await anyio.wait_all_tasks_blocked()


async def test_no_slot_without_room() -> None:
    """Two cores are two slots; the third comes when one is given back."""
    intake = Intake(Cores(2))
    slots = [await intake.slot(), await intake.slot()]
    third: list[Slot] = []
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            third.append(await intake.slot())

        group.start_soon(ask)
        await settle_down()
        assert not third
        slots[0].give_back()
        await settle_down()
        assert third


async def test_a_cancelled_asker_holds_nothing() -> None:
    """Room that was promised to a queue that went away is there for the next."""
    ledger = Cores(1)
    intake = Intake(ledger)
    slot = await intake.slot()
    with anyio.move_on_after(0):
        await intake.slot()
    slot.give_back()
    assert ledger.free.cores == 1


async def test_a_slot_grows_into_the_needs_or_leaves_nothing() -> None:
    """What the slot held counts towards what the request needs."""
    ledger = Cores(2)
    intake = Intake(ledger)
    slot = await intake.slot()
    allocation = slot.grow(Needs(cores=2))
    assert allocation is not None
    assert ledger.free.cores == 0
    slot.give_back()
    assert ledger.free.cores == 0
    intake.release(allocation)
    small = await intake.slot()
    other = await intake.slot()
    assert small.grow(Needs(cores=2)) is None
    small.give_back()
    other.give_back()
    assert ledger.free.cores == 2


async def test_a_young_reservation_is_passed_by_smaller_work_and_an_old_one_is_not() -> None:
    """Backfilling keeps the machine busy, ageing keeps the big experiment from starving."""
    clock = Clock()
    intake = Intake(Cores(2), patience=60, clock=clock)
    running = await intake.slot()
    got: list[Allocation | None] = []
    async with anyio.create_task_group() as group:

        async def big() -> None:
            got.append(await intake.reserved(Needs(cores=2)))

        group.start_soon(big)
        await settle_down()
        passing = await intake.slot(LEAST)
        clock.now = 61
        passing.give_back()
        late: list[Slot] = []

        async def small() -> None:
            late.append(await intake.slot(LEAST))

        group.start_soon(small)
        await settle_down()
        assert not late
        running.give_back()
        await settle_down()
        assert got
        assert not late
        assert got[0] is not None
        intake.release(got[0])
        await settle_down()
        assert late


async def test_there_is_one_reservation() -> None:
    """A second message that is too big now is told so at once."""
    intake = Intake(Cores(1))
    slot = await intake.slot()
    async with anyio.create_task_group() as group:
        group.start_soon(intake.reserved, Needs(cores=1))
        await settle_down()
        assert await intake.reserved(Needs(cores=1)) is None
        slot.give_back()


async def test_low_disk_gives_no_slots() -> None:
    """Below the floor nothing is claimed; with space again it goes on."""
    complaint = ["2 GB left"]
    intake = Intake(Cores(1), disk_is_low=lambda: complaint[0])
    got: list[Slot] = []
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            got.append(await intake.slot())

        group.start_soon(ask)
        await settle_down()
        assert not got
        complaint[0] = ""
        intake.look()
        await settle_down()
        assert got


async def test_a_closed_intake_gives_no_reservation() -> None:
    """Who waits for room with a message in hand is sent away, and nobody else waits any more."""
    ledger = Cores(1)
    intake = Intake(ledger)
    slot = await intake.slot()
    got: list[Allocation | None] = []
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            got.append(await intake.reserved(Needs(cores=1)))

        group.start_soon(ask)
        await settle_down()
        intake.close()
    assert got == [None]
    assert await intake.reserved(Needs(cores=1)) is None
    slot.give_back()
    assert ledger.free.cores == 1
