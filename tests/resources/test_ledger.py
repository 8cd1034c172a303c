"""The ledger gives no more than there is, and gets back what it gave."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.ledger import Ledger

GPUS = tuple(Gpu(f"GPU-{number}", "card", Bytes(16), slots=number) for number in range(1, 4))
TOTAL = Capacity(cores=4, memory=Bytes(100), disk=Bytes(1000), gpus=GPUS)


def first(needs: Needs, free: tuple[Gpu, ...]) -> tuple[Gpu, ...] | None:
    """Choose the first cards that have the slots asked for."""
    fitting = [gpu for gpu in free if gpu.slots >= needs.gpu_slots]
    return tuple(fitting[: needs.gpu_count]) if len(fitting) >= needs.gpu_count else None


def needs_of(
    cores: int = 0, memory: int = 0, disk: int = 0, gpu_count: int = 0, gpu_slots: int = 0
) -> Needs:
    """Write needs in plain numbers."""
    return Needs(
        cores,
        Bytes(memory),
        Bytes(disk),
        gpu_slots=gpu_slots,
        gpu_memory=Bytes(0),
        gpu_count=gpu_count,
    )


NEEDS = st.builds(
    needs_of,
    cores=st.integers(0, 6),
    memory=st.integers(0, 150),
    disk=st.integers(0, 1500),
    gpu_count=st.integers(0, 4),
    gpu_slots=st.integers(0, 4),
)


class Books(RuleBasedStateMachine):
    """Any order of reserving and releasing."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(TOTAL, first)
        self.given: list[Allocation] = []

    @rule(target=held, needs=NEEDS)
    def reserve(self, needs: Needs) -> object:
        """Ask for a share; a refusal changes nothing and has a reason."""
        before = self.ledger.free
        allocation = self.ledger.reserve(needs)
        if allocation is None:
            assert self.ledger.free == before
            return multiple()
        assert self.ledger.fits_ever(needs)
        assert (allocation.cores, allocation.memory, allocation.disk) == (
            needs.cores,
            needs.memory,
            needs.disk,
        )
        assert len(allocation.gpus) == needs.gpu_count
        self.given.append(allocation)
        return allocation

    @rule(allocation=consumes(held))
    def release(self, allocation: Allocation) -> None:
        """Give a share back; a second time is an error and changes nothing."""
        self.ledger.release(allocation)
        self.given = [one for one in self.given if one is not allocation]
        after = self.ledger.free
        with pytest.raises(ValueError, match="is not held"):
            self.ledger.release(allocation)
        assert self.ledger.free == after

    @invariant()
    def nothing_is_given_twice(self) -> None:
        """What is free and what is given are the total, always."""
        free, given = self.ledger.free, self.given
        assert free.cores + sum(one.cores for one in given) == TOTAL.cores
        assert free.memory + sum(one.memory for one in given) == TOTAL.memory
        assert free.disk + sum(one.disk for one in given) == TOTAL.disk
        uuids = [gpu.uuid for gpu in free.gpus] + [uuid for one in given for uuid in one.gpus]
        assert sorted(uuids) == [gpu.uuid for gpu in GPUS]


TestBooks = Books.TestCase
"""Hypothesis: no order of reserving and releasing gives more than there is, or loses any."""


@given(NEEDS)
def test_fits_ever_is_what_an_empty_ledger_gives(needs: Needs) -> None:
    """Something fits at some time exactly when it fits an idle machine."""
    ledger = Ledger(TOTAL, first)
    assert ledger.fits_ever(needs) == (ledger.reserve(needs) is not None)


@pytest.mark.parametrize("field", ["cores", "memory", "disk"])
def test_negative_needs_create_nothing(field: str) -> None:
    """A share below zero would make room that is not there."""
    ledger = Ledger(TOTAL, first)
    assert ledger.reserve(needs_of(**{field: -1})) is None
    assert ledger.free == TOTAL


def test_equal_shares_are_told_apart() -> None:
    """Two runs with the same needs are two entries; releasing one twice is noticed."""
    ledger = Ledger(TOTAL, first)
    one, other = ledger.reserve(needs_of(1)), ledger.reserve(needs_of(1))
    assert one is not None
    assert one == other
    ledger.release(one)
    with pytest.raises(ValueError, match="released before"):
        ledger.release(one)
    assert ledger.free.cores == 3


def test_an_adopted_run_keeps_what_it_has() -> None:
    """A restored share is taken, cards included, until it is released."""
    ledger = Ledger(TOTAL, first)
    adopted = Allocation(3, Bytes(60), Bytes(10), ("GPU-2",))
    ledger.restore(adopted)
    with pytest.raises(ValueError, match="held already"):
        ledger.restore(adopted)
    assert ledger.free.cores == 1
    assert [gpu.uuid for gpu in ledger.free.gpus] == ["GPU-1", "GPU-3"]
    assert ledger.reserve(needs_of(gpu_count=3)) is None
    ledger.release(adopted)
    assert ledger.free == TOTAL


def test_an_adopted_run_may_exceed_a_lowered_bound() -> None:
    """Nothing is free then, never less than nothing; a card that is gone disturbs nobody."""
    ledger = Ledger(TOTAL, first)
    adopted = Allocation(9, Bytes(900), Bytes(9000), ("GPU-gone",))
    ledger.restore(adopted)
    free = ledger.free
    assert (free.cores, free.memory, free.disk, free.gpus) == (0, 0, 0, GPUS)
    ledger.release(adopted)
    assert ledger.free == TOTAL


@pytest.mark.anyio
async def test_a_release_wakes_all_who_wait() -> None:
    """Whoever waits for room looks again when a share comes back, and only then."""
    ledger = Ledger(TOTAL, first)
    held = ledger.reserve(needs_of(4))
    assert held is not None
    woken: list[int] = []

    async def wait(number: int) -> None:
        await ledger.wait_for_release()
        woken.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, 1)
        group.start_soon(wait, 2)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        ledger.release(held)
    assert sorted(woken) == [1, 2]
