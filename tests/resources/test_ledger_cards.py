"""Cards in the books: whole or shared by one group, withheld, taken late, and kept for."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from runner.lifecycle.gpus.choice import choose_gpus, suitable
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve
from runner.resources.ledger import Ledger

MIG = "GPU-mig"
GPUS = (
    *(Gpu(f"GPU-{n}", "small", Bytes(10), 4, links=((f"GPU-{1 - n}", 0),)) for n in (0, 1)),
    *(Gpu(f"GPU-{n}", "large", Bytes(20), 8) for n in (2, 3)),
    *(Gpu(f"MIG-{n}", "part", Bytes(5), 2, parent=MIG) for n in (0, 1)),
)
SIZES = {gpu.uuid: gpu for gpu in GPUS}
TOTAL = Capacity(cores=16, memory=Bytes(100), disk=Bytes(100), gpus=GPUS)
RESERVE = GpuReserve(cores=1, memory=Bytes(10))


def needs_of(
    cores: int = 1,
    memory: int = 0,
    *,
    count: int = 0,
    slots: int = 0,
    gpu: int = 0,
    group: str = "",
) -> Needs:
    """Write needs in plain numbers."""
    return Needs(cores, Bytes(memory), Bytes(0), slots, Bytes(gpu), count, group)


NEEDS = st.builds(
    needs_of,
    cores=st.integers(0, 6),
    memory=st.integers(0, 40),
    count=st.integers(0, 4),
    slots=st.integers(0, 8),
    gpu=st.integers(0, 20),
    group=st.sampled_from(["", "g", "h"]),
)
CARDS = st.sets(st.sampled_from(sorted(SIZES)), max_size=3)


class Books(RuleBasedStateMachine):
    """Any order of reserving, equipping, adopting, withholding and giving back."""

    held = Bundle("held")

    @initialize(is_kept=st.booleans())
    def open(self, is_kept: bool) -> None:  # noqa: FBT001 - drawn by name
        """Begin with an empty machine, with or without something kept free for cards."""
        self.reserve_ = RESERVE if is_kept else GpuReserve()
        self.ledger = Ledger(TOTAL, choose_gpus, reserve=self.reserve_)
        self.given: list[Allocation] = []

    @rule(target=held, needs=NEEDS)
    def reserve(self, needs: Needs) -> object:
        """Ask for a share: what is chosen was free, is enough, and the smallest of its kind."""
        before = self.ledger.free
        allocation = self.ledger.reserve(needs)
        if allocation is None:
            assert self.ledger.free == before
            return multiple()
        assert self.ledger.fits_ever(needs)
        assert allocation == Ledger(TOTAL, lambda *_: _of(allocation, before)).reserve(needs)
        self._is_well_chosen(needs, allocation, before)
        if not needs.gpu_count:
            kept = sum(not gpu.group for gpu in before.gpus)
            assert not needs.cores or self.ledger.free.cores >= self.reserve_.cores * kept
            assert not needs.memory or self.ledger.free.memory >= self.reserve_.memory * kept
        self.given.append(allocation)
        return allocation

    def _is_well_chosen(self, needs: Needs, allocation: Allocation, before: Capacity) -> None:
        chosen = _of(allocation, before)
        assert len(chosen) == needs.gpu_count
        for gpu in chosen:
            assert gpu.slots >= max(needs.gpu_slots, allocation.gpu_slots)
            assert gpu.memory >= needs.gpu_memory
            assert gpu.group in {"", needs.gpu_group}
            assert needs.gpu_count == 1 or not gpu.parent
        if needs.gpu_count == 1:
            (one,) = chosen
            alike = [gpu for gpu in suitable(needs, before.gpus) if gpu.group == one.group]
            sizes = [(gpu.memory, gpu.slots) for gpu in alike]
            least = min(sizes) if needs.gpu_memory else min(size[::-1] for size in sizes)[::-1]
            assert (one.memory, one.slots) == least

    @rule(target=held, allocation=consumes(held), needs=NEEDS, among=st.none() | CARDS)
    def equip(self, allocation: Allocation, needs: Needs, among: set[str] | None) -> object:
        """Take cards late; nothing else of the share changes."""
        if allocation.gpus:
            return allocation
        before = self.ledger.free
        equipped = self.ledger.equip(allocation, needs, among=among)
        if equipped is None:
            assert self.ledger.free == before
            return allocation
        assert among is None or set(equipped.gpus) <= among
        self._exchange(allocation, equipped)
        return equipped

    @rule(target=held, allocation=consumes(held))
    def unequip(self, allocation: Allocation) -> object:
        """Give the cards back and keep the rest."""
        bare = self.ledger.unequip(allocation)
        assert bare == Allocation(allocation.cores, allocation.memory, allocation.disk)
        self._exchange(allocation, bare)
        return bare

    def _exchange(self, old: Allocation, new: Allocation) -> None:
        self.given = [one for one in self.given if one is not old]
        self.given.append(new)

    @rule(allocation=consumes(held))
    def release(self, allocation: Allocation) -> None:
        """Give a share back, exactly."""
        self.ledger.release(allocation)
        self.given = [one for one in self.given if one is not allocation]
        with pytest.raises(ValueError, match="is not held"):
            self.ledger.release(allocation)

    @rule(cards=CARDS)
    def withhold(self, cards: set[str]) -> None:
        """Who holds a withheld card keeps it; nobody gets one."""
        self.ledger.withhold(dict.fromkeys(cards, "broken"))

    @invariant()
    def nothing_is_given_twice(self) -> None:
        """Of cores, memory, and of each card's slots and memory no more is given than there is."""
        free = self.ledger.free
        assert free.cores == TOTAL.cores - sum(one.cores for one in self.given)
        assert free.memory == TOTAL.memory - sum(one.memory for one in self.given)
        assert not {gpu.uuid for gpu in free.gpus} & self.ledger.withheld.keys()
        for gpu in GPUS:
            self._holds(gpu, next((one for one in free.gpus if one.uuid == gpu.uuid), None))

    def _holds(self, gpu: Gpu, free: Gpu | None) -> None:
        shares = [one for one in self.given if gpu.uuid in one.gpus]
        slots = sum(one.gpu_slots for one in shares)
        memory = sum(one.gpu_memory for one in shares)
        assert len({one.gpu_group for one in shares}) <= 1, "two groups meet"
        assert len(shares) <= 1 or shares[0].gpu_group, "a whole card is held twice"
        assert slots <= gpu.slots
        assert memory <= gpu.memory
        is_whole = any(not one.gpu_group for one in shares)
        is_full = slots == gpu.slots or memory == gpu.memory
        assert (free is None) == (is_whole or is_full or gpu.uuid in self.ledger.withheld)
        if free is not None:
            assert (free.slots, free.memory) == (gpu.slots - slots, gpu.memory - memory)
            assert free.group == (shares[0].gpu_group if shares else "")

    def teardown(self) -> None:
        """When all is given back, all is there."""
        for one in getattr(self, "given", ()):
            self.ledger.release(one)
        if hasattr(self, "ledger"):
            self.ledger.withhold({})
            assert self.ledger.free == TOTAL


def _of(allocation: Allocation, free: Capacity) -> tuple[Gpu, ...]:
    """Return the cards of a share as they were free before."""
    there = {gpu.uuid: gpu for gpu in free.gpus}
    return tuple(there[uuid] for uuid in allocation.gpus)


TestBooks = Books.TestCase
"""Hypothesis: no order of events gives more of a card than it has, or joins two groups on it."""


@given(st.lists(NEEDS, max_size=12))
def test_the_same_questions_get_the_same_answers(wanted: list[Needs]) -> None:
    """Whatever the order in which the cards were found."""
    one = Ledger(TOTAL, choose_gpus)
    turned = Capacity(TOTAL.cores, TOTAL.memory, TOTAL.disk, GPUS[::-1])
    other = Ledger(turned, choose_gpus)
    assert [one.reserve(needs) for needs in wanted] == [other.reserve(needs) for needs in wanted]


def test_a_shared_card_is_not_stranded() -> None:
    """Shares come back in any order; the last one makes the card anybody's."""
    ledger = Ledger(TOTAL, choose_gpus)
    wanted = needs_of(count=1, slots=1, gpu=4, group="g")
    first, second = ledger.reserve(wanted), ledger.reserve(wanted)
    assert first is not None
    assert second is not None
    assert first.gpus == ("MIG-0",)
    assert second.gpus == ("MIG-1",)
    other = needs_of(count=1, slots=1, gpu=5, group="h")
    third = ledger.reserve(other)
    assert third is not None
    assert third.gpus == ("GPU-0",)
    ledger.release(first)
    again = ledger.reserve(other)
    assert again is not None
    assert again.gpus == ("GPU-0",), "what its group shares already comes first"
    assert "MIG-0" in {gpu.uuid for gpu in ledger.free.gpus if not gpu.group}


def test_what_states_no_memory_holds_its_card_alone() -> None:
    """Although it might share."""
    ledger = Ledger(TOTAL, choose_gpus)
    held = ledger.reserve(needs_of(count=1, slots=2, group="g"))
    assert held is not None
    assert (held.gpu_group, held.gpu_slots, held.gpu_memory) == ("", 0, 0)
    assert set(held.gpus).isdisjoint(gpu.uuid for gpu in ledger.free.gpus)


def test_memory_alone_takes_a_slot() -> None:
    """It computes, too: more experiments than slots never meet on a card."""
    ledger = Ledger(Capacity(9, Bytes(9), Bytes(9), GPUS[:1]), choose_gpus)
    wanted = needs_of(count=1, gpu=1, group="g")
    assert [ledger.reserve(wanted) is not None for _ in range(5)] == [True] * 4 + [False]


def test_adopted_runs_of_two_groups_keep_their_card() -> None:
    """The option was changed between two daemons: nobody joins them, and nobody is ended."""
    ledger = Ledger(TOTAL, choose_gpus)
    ran = [
        Allocation(1, Bytes(0), Bytes(0), ("GPU-2",), 1, Bytes(2), group) for group in ("g", "h")
    ]
    for allocation in ran:
        ledger.restore(allocation)
    assert "GPU-2" not in {gpu.uuid for gpu in ledger.free.gpus}
    ledger.release(ran[0])
    (left,) = [gpu for gpu in ledger.free.gpus if gpu.uuid == "GPU-2"]
    assert (left.slots, left.memory, left.group) == (7, 18, "h")


def test_adopted_runs_may_hold_more_than_a_card_has() -> None:
    """The operator's table of slots was changed: nothing of it is free until they have ended."""
    ledger = Ledger(TOTAL, choose_gpus)
    adopted = Allocation(1, Bytes(0), Bytes(0), ("GPU-2", "GPU-gone"), 99, Bytes(2), "g")
    ledger.restore(adopted)
    assert "GPU-2" not in {gpu.uuid for gpu in ledger.free.gpus}
    ledger.release(adopted)
    assert ledger.free == TOTAL


def test_who_listens_hears_of_cards_that_nobody_uses_any_more() -> None:
    """Not of one on which somebody else still computes: its memory is not back."""
    ledger = Ledger(Capacity(9, Bytes(9), Bytes(9), GPUS[:1]), choose_gpus)
    heard: list[tuple[str, ...]] = []
    ledger.listeners.append(heard.append)
    wanted = needs_of(count=1, gpu=1, group="g")
    first, second = ledger.reserve(wanted), ledger.reserve(wanted)
    assert first is not None
    assert second is not None
    ledger.release(first)
    bare = ledger.unequip(second)
    assert ledger.unequip(bare) is bare
    assert heard == [(), ("GPU-0",)]


def test_a_listener_may_withhold_before_anybody_gets_the_card() -> None:
    """The release wakes who waits only after that."""
    ledger = Ledger(Capacity(9, Bytes(9), Bytes(9), GPUS[:1]), choose_gpus)
    ledger.listeners.append(lambda cards: ledger.withhold(dict.fromkeys(cards, "not yet back")))
    held = ledger.reserve(needs_of(count=1))
    assert held is not None
    ledger.release(held)
    assert ledger.reserve(needs_of(count=1)) is None


@pytest.mark.anyio
async def test_a_card_that_is_given_again_wakes_who_waits() -> None:
    """As a release does; withholding one more wakes nobody."""
    ledger = Ledger(TOTAL, choose_gpus)
    ledger.withhold({"GPU-0": "broken"})
    woken = anyio.Event()

    async def wait() -> None:
        await ledger.wait_for_release()
        woken.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        ledger.withhold({"GPU-0": "broken", "GPU-1": "broken"})
        await anyio.wait_all_tasks_blocked()
        assert not woken.is_set()
        ledger.withhold({"GPU-1": "broken"})
    assert woken.is_set()


def test_what_would_be_free_beside_some_shares_is_told() -> None:
    """For looking ahead: withheld cards count, since they are expected back."""
    ledger = Ledger(Capacity(9, Bytes(9), Bytes(9), GPUS[:2]), choose_gpus)
    whole = ledger.reserve(needs_of(count=1))
    shared = ledger.reserve(needs_of(count=1, slots=1, gpu=4, group="g"))
    assert whole is not None
    assert shared is not None
    ledger.withhold({"GPU-0": "broken"})
    assert ledger.gpus_beside([]) == GPUS[:2]
    (left,) = ledger.gpus_beside([whole])
    assert left == GPUS[1]
    left, *_ = ledger.gpus_beside([shared])[1:]
    assert (left.uuid, left.memory, left.group) == ("GPU-1", 6, "g")


# ------------------------------------------------------------------ kept for cards


def test_cores_and_memory_are_kept_for_cards_in_use_by_nobody() -> None:
    """Experiments without a GPU take the rest; one with a GPU takes of what is kept."""
    total = Capacity(8, Bytes(80), Bytes(0), GPUS[2:4])
    ledger = Ledger(total, choose_gpus, reserve=GpuReserve(2, Bytes(20)))
    assert ledger.reserve(needs_of(5)) is None
    assert ledger.reserve(needs_of(1, 50)) is None
    plain = ledger.reserve(needs_of(4, 40))
    assert plain is not None
    assert ledger.reserve(needs_of(1)) is None
    unknown = ledger.reserve(needs_of(1), may_use_reserve=True)
    assert unknown is not None
    ledger.release(unknown)
    assert ledger.reserve(needs_of(4, 40, count=1)) is not None


def test_nothing_is_kept_for_cards_that_are_held_or_withheld() -> None:
    """Nor for one of which a part is free: its experiments have their cores already."""
    total = Capacity(8, Bytes(80), Bytes(0), GPUS[2:4])
    ledger = Ledger(total, choose_gpus, reserve=GpuReserve(2))
    assert ledger.reserve(needs_of(1, count=1, gpu=5, group="g")) is not None
    assert ledger.reserve(needs_of(6)) is None
    ledger.withhold({"GPU-3": "broken"})
    assert ledger.reserve(needs_of(7)) is not None


def test_a_reserve_that_leaves_nothing_is_complained_of() -> None:
    """The operator hears at the start that experiments without a GPU will be refused."""
    total = Capacity(8, Bytes(80), Bytes(0), GPUS[2:4])
    assert not GpuReserve().complaint(total)
    assert not GpuReserve(3, Bytes(39)).complaint(total)
    assert not GpuReserve(4).complaint(Capacity(8, Bytes(80), Bytes(0)))
    said = GpuReserve(4, Bytes(40)).complaint(total)
    assert "--reserve-cores-per-gpu keeps all 8 cores free for 2 GPUs" in said
    assert "--reserve-mem-per-gpu keeps all memory" in said
    assert not Ledger(total, choose_gpus, reserve=GpuReserve(4)).fits_ever(needs_of(1))
