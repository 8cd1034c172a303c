"""Slots are given in turn, and what is too big now gets its place in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import anyio
import anyio.lowlevel
import pytest

from runner.lifecycle.claiming.intake import LEAST, Intake, Slot
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.suspension import Intent
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve
from tests.lifecycle.simulation import Paper

pytestmark = pytest.mark.anyio

NOTHING = Bytes(0)


class Cores:
    """A ledger of cores alone."""

    def __init__(self, cores: int) -> None:
        self._cores = self._all = cores
        self.held = 0

    @property
    def free(self) -> Capacity:
        """What is left."""
        return Capacity(self._cores, NOTHING, NOTHING)

    @property
    def total(self) -> Capacity:
        """What there is."""
        return Capacity(self._all, NOTHING, NOTHING)

    @property
    def gpu_reserve(self) -> GpuReserve:
        """Nothing is kept for cards that are not there."""
        return GpuReserve()

    @property
    def withheld(self) -> Mapping[str, str]:
        """Nor is any withheld."""
        return {}

    def gpus_beside(self, held: Iterable[Allocation]) -> tuple[Gpu, ...]:
        """Return none."""
        del held
        return ()

    def equip(
        self, allocation: Allocation, needs: Needs, *, among: Collection[str] | None = None
    ) -> Allocation | None:
        """Give none."""
        del allocation, needs, among
        return None

    def unequip(self, allocation: Allocation) -> Allocation:
        """Take none back."""
        return allocation

    def reserve(self, needs: Needs, *, may_use_reserve: bool = False) -> Allocation | None:
        """Take cores."""
        del may_use_reserve
        if needs.cores > self._cores:
            return None
        self._cores -= needs.cores
        self.held += 1
        return Allocation(needs.cores, NOTHING, NOTHING)

    def release(self, allocation: Allocation) -> None:
        """Give cores back."""
        self._cores += allocation.cores
        self.held -= 1

    def restore(self, allocation: Allocation) -> None:
        """Take cores without asking."""
        self._cores -= allocation.cores
        self.held += 1


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


async def test_many_receives_are_open_for_one_slot_and_one_message_gets_it() -> None:
    """The second message finds the slot gone: it waits with the reservation, and is not lost."""
    clock = Clock()
    intake = Intake(Cores(1), clock=clock)
    seats = [intake.seat(Paper(f"q{n}")) for n in range(3)]
    turns = []
    for seat in seats:
        turns.append(await intake.turn(seat))
        clock.now += 1  # its glance is over, and it brought nothing
    first = intake.found(turns[0])
    running = first.grow(LEAST)
    assert running is not None
    second = intake.found(turns[1])
    assert second.grow(LEAST) is None
    got: list[Allocation | None] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            got.append(await second.reserved(LEAST))

        group.start_soon(wait)
        await settle_down()
        assert not got
        intake.release(running)
    assert got[0] is not None
    intake.nothing(turns[2])
    intake.release(got[0])
    assert intake.ledger.held == 0


async def test_a_new_receive_has_its_slot_to_itself_for_a_glance() -> None:
    """Two queues that had messages do not both ask for the one slot."""
    clock = Clock()
    ledger = Cores(1)
    intake = Intake(ledger, clock=clock)
    one, other = (intake.seat(Paper(name, tells=True)) for name in ("one", "other"))
    turn = await intake.turn(one)
    assert ledger.free.cores == 0
    async with anyio.create_task_group() as group:
        granted: list[str] = []

        async def ask() -> None:
            intake.failed(await intake.turn(other))
            granted.append("other")

        group.start_soon(ask)
        await settle_down()
        assert not granted
        clock.now = 1.0
        intake.look()
        await settle_down()
        assert granted
    intake.nothing(turn)
    assert ledger.free.cores == 1


async def test_no_more_than_the_operator_allows_begin() -> None:
    """Adopted runs count; below the bound it goes on."""
    ledger = Cores(8)
    intake = Intake(ledger, rules=Rules(at_most=2))
    adopted = Allocation(1, NOTHING, NOTHING)
    intake.adopt(adopted, broker="paper", project="p", queue="q")
    slot = await intake.slot()
    with anyio.move_on_after(0.01) as waited:
        await intake.slot()
    assert waited.cancelled_caught
    intake.release(adopted)
    other = await intake.slot()
    slot.give_back()
    other.give_back()
    assert ledger.held == 0


async def test_outside_the_hours_nothing_is_claimed_and_nothing_waits_with_a_message() -> None:
    """The edge is looked at on the wall; the last receive is over before it."""
    wall = Clock()
    rules = Rules(is_open_at=lambda moment: moment < 100, hours="00:00-00:01")
    ledger = Cores(1)
    intake = Intake(ledger, rules=rules, wall=wall)
    queue = Paper("q")
    slot = await intake.slot()
    got: list[Allocation | None] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            got.append(await intake.reserved(LEAST))

        group.start_soon(wait)
        await settle_down()
        assert not got
        wall.now = 100
        intake.look()
    assert got == [None]
    assert "00:00-00:01" in intake.complaint
    slot.give_back()
    wall.now = 100 - queue.patience
    with anyio.move_on_after(0.01) as waited:
        await intake.turn(intake.seat(queue))
    assert waited.cancelled_caught
    wall.now -= 1
    intake.nothing(await intake.turn(intake.seat(queue)))
    assert intake.complaint == ""


async def test_a_reservation_stays_with_its_queue_when_the_message_goes_back() -> None:
    """While nobody else may pass, its queue is asked again; found empty later, it is void."""
    clock = Clock()
    ledger = Cores(2)
    intake = Intake(ledger, patience=60, clock=clock)
    big, small = (intake.seat(Paper(name, tells=True)) for name in ("big", "small"))
    running = intake.take(LEAST, small)
    assert running is not None
    slot = intake.found(await intake.turn(big))
    assert slot.grow(Needs(cores=2)) is None
    with anyio.move_on_after(0.01):
        await slot.reserved(Needs(cores=2))
    clock.now = 61
    with anyio.move_on_after(0.01) as waited:
        await intake.turn(small)
    assert waited.cancelled_caught
    intake.nothing(await intake.turn(big))
    intake.failed(await intake.turn(small))
    intake.release(running)
    assert ledger.held == 0


async def test_a_turn_that_is_not_waited_for_any_more_leaves_nothing() -> None:
    """Cancelled before or after it was granted, a queue holds no room."""
    ledger = Cores(1)
    intake = Intake(ledger)
    seat = intake.seat(Paper("q", tells=True))
    async with anyio.create_task_group() as group:
        group.start_soon(intake.turn, seat)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert ledger.held == 0
    slot = await intake.slot()
    async with anyio.create_task_group() as group:
        group.start_soon(intake.turn, seat)
        await settle_down()
        group.cancel_scope.cancel()
    slot.give_back()
    intake.failed(await intake.turn(seat))
    intake.leave(seat)
    assert ledger.held == 0


async def test_a_queue_that_waits_says_for_what() -> None:
    """Nothing keeps it, the machine is full, its last message is too big, or the daemon ends."""
    intake = Intake(Cores(2))
    seat = intake.seat(Paper("q", tells=True))

    def why() -> str:
        return intake.holdup("paper", "p", "q")

    assert why() == ""
    slot = await intake.slot(Needs(cores=1))
    async with anyio.create_task_group() as group:
        group.start_soon(intake.turn, seat, Needs(cores=2), float("inf"))
        await anyio.lowlevel.checkpoint()
        assert why() == "its last message needs 2 cores, which are not free"
        other = await intake.slot(Needs(cores=1))
        assert why() == "the machine is full"
        intake.suspension.wish("somebody", Intent.SUSPEND)
        assert why() == "suspended by somebody"
        intake.close()
        assert why() == "the daemon is draining"
        group.cancel_scope.cancel()
    other.give_back()
    slot.give_back()
