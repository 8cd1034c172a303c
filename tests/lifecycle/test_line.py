"""Claims without cards, cards when they are free, and back to the queue when they are not."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.lifecycle.claiming import staging
from runner.lifecycle.claiming.allotting import Allotting
from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.claiming.line import Line, Place
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.seats import LEAST, Seat
from runner.lifecycle.claiming.staging import Preparing
from runner.lifecycle.claiming.suspension import Intent, Suspension
from runner.lifecycle.claiming.turns import Turns
from runner.lifecycle.gpus.choice import choose_gpus
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve
from runner.resources.ledger import Ledger

GB = 10**9
PATIENCE, STAGING = 60.0, 1800.0
ONE, TWO = Needs(gpu_count=1), Needs(gpu_count=2)
KINDS = (*[("small", 24, 12)] * 3, ("large", 80, 40))


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def ledger_of(cards: int, cores: int = 64, **more: GpuReserve) -> Ledger:
    """Return the books of a machine: of four cards, one is large."""
    gpus = tuple(
        Gpu(f"GPU-{place}", name, Bytes(memory * GB), slots)
        for place, (name, memory, slots) in enumerate(KINDS[:cards])
    )
    return Ledger(Capacity(cores, Bytes(1 << 40), Bytes(1 << 40), gpus), choose_gpus, **more)


def intake_of(ledger: Ledger, staged: int = 1, **more: Suspension | Clock) -> Intake:
    """Return an intake that stages."""
    rules = Rules(staged=staged, staging_seconds=STAGING)
    return Intake(ledger, rules=rules, patience=PATIENCE, **more)  # type: ignore[arg-type] # as there


def claimed(intake: Intake, needs: Needs = ONE) -> Allocation:
    """Claim a share, which there is."""
    allocation = intake.take(needs, Seat("q"))
    assert allocation is not None
    return allocation


def place_of(intake: Intake, allocation: Allocation) -> Place:
    """Return the place in line of a share, which has one."""
    place = intake.line.place(allocation)
    assert place is not None
    return place


def running(intake: Intake, needs: Needs = ONE) -> Allocation:
    """Claim a share and have it get its cards, which are free."""
    place = place_of(intake, claimed(intake, needs))
    intake.line.be_ready(place)
    assert place.equipped.is_set()
    return place.allocation


def test_one_is_made_ready_while_the_card_is_busy_and_gets_it_when_it_comes_back() -> None:
    """A second one is not claimed; what the first had on the way is replaced by what it has."""
    ledger = ledger_of(1)
    intake = intake_of(ledger)
    first = running(intake)
    second = claimed(intake)
    assert second.gpus == ()
    assert intake.take(ONE, Seat("q")) is None
    place = place_of(intake, second)
    intake.line.be_ready(place)
    assert not place.equipped.is_set()
    intake.release(first)
    assert place.equipped.is_set()
    assert place.allocation.gpus == ("GPU-0",)
    assert intake.line.place(place.allocation) is None
    intake.release(place.allocation)
    assert ledger.free == ledger.total


def test_without_staging_a_claim_has_its_cards() -> None:
    """And what has none is not claimed."""
    intake = intake_of(ledger_of(1), staged=0)
    first = claimed(intake)
    assert first.gpus == ("GPU-0",)
    assert intake.line.place(first) is None
    assert intake.take(ONE, Seat("q")) is None


def test_who_needs_no_card_never_stands_in_line() -> None:
    """It is claimed as ever, whatever the cards do."""
    intake = intake_of(ledger_of(0))
    assert intake.line.place(claimed(intake, LEAST)) is None


def test_the_cards_come_back_before_the_share() -> None:
    """The next one starts while the results of the one before are on their way."""
    ledger = ledger_of(1)
    intake = intake_of(ledger)
    first, second = running(intake), place_of(intake, claimed(intake))
    intake.line.be_ready(second)
    bare = intake.line.unequip(first)
    intake.line.changed()
    assert bare.gpus == ()
    assert second.equipped.is_set()
    intake.release(bare)
    intake.release(second.allocation)
    assert ledger.free == ledger.total


def test_a_card_that_is_withheld_makes_those_that_prepare_wait() -> None:
    """Nobody is lost: they go on when it is given out again."""
    ledger = ledger_of(2)
    intake = intake_of(ledger)
    places = [place_of(intake, claimed(intake)) for _ in range(2)]
    ledger.withhold({"GPU-0": "it is broken"})
    for place in places:
        intake.line.be_ready(place)
    assert [place.equipped.is_set() for place in places] == [True, False]
    ledger.withhold({})
    intake.look()
    assert places[1].allocation.gpus == ("GPU-0",)


def test_nothing_is_staged_for_a_broken_card() -> None:
    """One that is withheld only while a run's memory goes counts as there."""
    clock = Clock()
    ledger = ledger_of(1)
    intake = intake_of(ledger, clock=clock)
    ledger.withhold({"GPU-0": "its memory is not back"})
    assert intake.line.admits(ONE)
    clock.now = PATIENCE
    assert not intake.line.admits(ONE)


def test_a_queue_of_long_experiments_is_staged_late() -> None:
    """Only when the present one is expected to end within the staging time."""
    clock = Clock()
    intake = intake_of(ledger_of(1), clock=clock)
    for _ in range(2):
        share = running(intake)
        clock.now += 5 * 3600
        intake.release(share)
    running(intake)
    assert intake.take(ONE, Seat("q")) is not None  # of another seat of this name: nothing is known
    seat = Seat("long")
    intake = intake_of(ledger_of(1), clock=clock)
    for _ in range(2):
        share_ = intake.take(ONE, seat)
        assert share_ is not None
        place = place_of(intake, share_)
        intake.line.be_ready(place)
        clock.now += 5 * 3600
        intake.release(place.allocation)
    share_ = intake.take(ONE, seat)
    assert share_ is not None
    intake.line.be_ready(place_of(intake, share_))
    assert intake.take(ONE, seat) is None
    clock.now += 4.6 * 3600
    assert intake.take(ONE, seat) is not None


def test_what_is_staged_leaves_cores_for_cards_that_are_free() -> None:
    """The operator's reserve for cards is for who can use them."""
    ledger = ledger_of(4, cores=6, reserve=GpuReserve(cores=1))
    intake = intake_of(ledger)
    large = Needs(gpu_count=1, gpu_memory=Bytes(80 * GB), cores=3)
    running(intake, large)
    assert intake.take(large, Seat("q")) is None
    for _ in range(3):
        claimed(intake, ONE)


@pytest.mark.anyio
async def test_in_a_drain_those_without_cards_go_back_first() -> None:
    """Also one that still fetches; who will have a card goes on."""
    ledger = ledger_of(2)
    intake = intake_of(ledger)
    running(intake)
    served, staged = (place_of(intake, claimed(intake)) for _ in range(2))
    intake.close()
    assert staged.back is not None
    assert staged.back.delay.total_seconds() == 0
    assert served.back is None
    intake.line.be_ready(served)
    assert served.equipped.is_set()


@pytest.mark.anyio
async def test_one_that_was_sent_back_before_it_fetched_anything_does_not_begin() -> None:
    """Its claim may only just be written; it leaves as soon as it comes to it."""
    intake = intake_of(ledger_of(1))
    running(intake)
    staged = claimed(intake)
    intake.close()
    place, has_begun = place_of(intake, staged), False
    with place.recallable():
        await anyio.lowlevel.checkpoint()
        has_begun = True
    assert not has_begun


@pytest.mark.anyio
async def test_a_suspension_sends_them_back_too() -> None:
    """Another machine may have a card for them."""
    suspension = Suspension()
    intake = intake_of(ledger_of(1), suspension=suspension)
    running(intake)
    staged = place_of(intake, claimed(intake))
    suspension.wish("somebody", Intent.SUSPEND)
    assert staged.back is not None


@pytest.mark.anyio
async def test_who_waited_in_vain_goes_back_and_nobody_follows_until_a_card_is_free() -> None:
    """Else the same would be fetched and given back for ever."""
    rules = Rules(staged=1, staging_seconds=0.01)
    intake = Intake(ledger_of(1), rules=rules)
    first = running(intake)
    place = place_of(intake, claimed(intake))
    with place.recallable():
        intake.line.be_ready(place)
        await intake.line.wait(place)
    assert "still busy" in str(place.gone)
    intake.release(place.allocation)
    assert intake.take(ONE, Seat("q")) is None
    intake.release(first)
    running(intake)
    assert intake.take(ONE, Seat("q")) is not None


@pytest.mark.anyio
async def test_who_waited_in_vain_keeps_the_reservation() -> None:
    """Two cards do not come free at once: nobody takes one while its queue is asked again."""
    clock = Clock()
    intake = Intake(
        ledger_of(2),
        rules=Rules(staged=1, staging_seconds=0.01),
        patience=PATIENCE,
        clock=clock,
    )
    big, small = Seat("big"), Seat("small")
    running(intake), running(intake)
    share = intake.take(TWO, big)
    assert share is not None
    place = place_of(intake, share)
    with place.recallable():
        intake.line.be_ready(place)
        clock.now += PATIENCE
        await intake.line.wait(place)
    intake.release(place.allocation)
    assert intake.take(ONE, small) is None
    small.wants = ONE
    assert not intake.may_take(small)
    assert intake.may_take(big)


@pytest.mark.anyio
async def test_one_that_has_some_of_its_cards_does_not_go_back() -> None:
    """Others would take them, and it would begin anew for ever."""
    clock = Clock()
    rules = Rules(staged=1, staging_seconds=0.01)
    intake = Intake(ledger_of(2), rules=rules, patience=PATIENCE, clock=clock)
    first = running(intake)
    place = place_of(intake, claimed(intake, TWO))
    async with anyio.create_task_group() as group:
        intake.line.be_ready(place)
        clock.now += PATIENCE
        group.start_soon(intake.line.wait, place)
        await anyio.sleep(0.05)
        assert place.back is None
        intake.release(first)
    assert len(place.allocation.gpus) == 2


@pytest.mark.anyio
async def test_a_message_in_hand_becomes_the_next_that_is_made_ready() -> None:
    """The one reservation is not kept any longer than that."""
    intake = intake_of(ledger_of(1))
    first, staged = running(intake), place_of(intake, claimed(intake))
    got: list[Allocation | None] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            got.append(await intake.reserved(ONE, Seat("q")))

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not got
        intake.line.be_ready(staged)
        intake.release(first)
    assert got[0] is not None
    assert place_of(intake, got[0]).needs == ONE


@pytest.mark.anyio
async def test_a_message_that_waits_for_a_card_does_not_stop_those_that_need_none() -> None:
    """Its cores stay free; and queues that had something for such a card wait behind it."""
    clock = Clock()
    intake = intake_of(ledger_of(1, cores=5), clock=clock)
    running(intake), claimed(intake)
    plain, rival, new = (Seat(name) for name in ("plain", "rival", "new"))
    plain.wants, rival.wants = LEAST, ONE
    async with anyio.create_task_group() as group:
        group.start_soon(intake.reserved, Needs(gpu_count=1, cores=2), Seat("q"))
        await anyio.wait_all_tasks_blocked()
        clock.now += PATIENCE
        assert intake.may_take(plain)
        assert intake.may_take(new)
        assert not intake.may_take(rival)
        assert intake.take(ONE, new) is None
        assert intake.take(LEAST, plain) is not None
        assert intake.take(LEAST, plain) is None
        assert not intake.may_take(plain)
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_message_that_waits_for_a_card_stops_nobody_who_has_use_for_another() -> None:
    """The large card is awaited; small ones are of no use there."""
    clock = Clock()
    intake = intake_of(ledger_of(4), clock=clock)
    large = Needs(gpu_count=1, gpu_memory=Bytes(80 * GB))
    running(intake, large), claimed(intake, large)
    small = Seat("small")
    async with anyio.create_task_group() as group:
        group.start_soon(intake.reserved, large, Seat("q"))
        await anyio.wait_all_tasks_blocked()
        clock.now += PATIENCE
        for _ in range(3):
            assert intake.may_take(small)
            assert intake.take(ONE, small) is not None
        small.wants = ONE
        assert not intake.may_take(small)
        assert intake.take(ONE, small) is None
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_nobody_waits_behind_one_that_needs_a_broken_card() -> None:
    """It keeps its message in hand, for the card may be mended; others go on."""
    clock = Clock()
    ledger = ledger_of(2)
    intake = intake_of(ledger, clock=clock)
    ledger.withhold({"GPU-0": "it is broken"})
    assert intake.line.admits(TWO)  # for all that is known yet
    clock.now = PATIENCE
    assert not intake.line.admits(TWO)
    async with anyio.create_task_group() as group:
        group.start_soon(intake.reserved, TWO, Seat("pairs"))
        await anyio.wait_all_tasks_blocked()
        clock.now += PATIENCE
        singles = Seat("singles", wants=ONE)
        assert intake.may_take(singles)
        ledger.withhold({})
        assert not intake.may_take(singles)
        group.cancel_scope.cancel()


class Claims(RuleBasedStateMachine):
    """Experiments of all kinds come, are made ready, run, fail and end, in any order."""

    @initialize(staged=st.integers(1, 3), cards=st.integers(1, 4))
    def begin(self, staged: int, cards: int) -> None:
        """Start with an idle machine."""
        self.clock = Clock()
        self.ledger = ledger_of(cards)
        self.staged = staged
        allotting = Allotting(self.ledger, Turns(), 0, self.clock)
        rules = Rules(staged=staged, staging_seconds=STAGING)
        self.line = Line(allotting, rules, PATIENCE, self.clock)
        self.line.changed = self.line.serve
        self.places: list[Place] = []

    def preparing(self) -> list[Preparing]:
        """Return who is in line, in the words of the policy."""
        return [
            Preparing(one.number, one.needs, one.is_ready, self.is_owed(one))
            for one in self.places
            if not one.equipped.is_set()
        ]

    def is_owed(self, place: Place) -> bool:
        """Tell whether nobody may pass it."""
        return place.since is not None and self.clock.now - place.since >= PATIENCE

    @rule(count=st.integers(1, 4), memory=st.sampled_from([0, 40]))
    def claim(self, count: int, memory: int) -> None:
        """One comes; it is admitted only while few enough lack cards."""
        needs = Needs(gpu_count=count, gpu_memory=Bytes(memory * GB))
        table = staging.Table(self.ledger.free.gpus, self.ledger.total.gpus, self.ledger.total.gpus)
        unserved = len(staging.deal(self.preparing(), table.free, table).unserved)
        allocation = self.line.claim(needs)
        if allocation is None:
            return
        place = self.line.place(allocation)
        assert place is not None
        self.places.append(place)
        table = staging.Table(self.ledger.free.gpus, self.ledger.total.gpus, self.ledger.total.gpus)
        after = len(staging.deal(self.preparing(), table.free, table).unserved)
        assert after <= max(unserved, self.staged)

    def one_of(self, number: int, *, equipped: bool) -> Place | None:
        """Return somebody in this condition."""
        found = [one for one in self.places if one.equipped.is_set() is equipped]
        return found[number % len(found)] if found else None

    @rule(number=st.integers(0, 9))
    def be_ready(self, number: int) -> None:
        """One is fetched and built."""
        place = self.one_of(number, equipped=False)
        if place is not None:
            self.line.be_ready(place)

    @rule(number=st.integers(0, 9), in_two_steps=st.booleans())
    def end(self, number: int, *, in_two_steps: bool) -> None:
        """One has run; its cards may come back first."""
        place = self.one_of(number, equipped=True)
        if place is None:
            return
        self.places.remove(place)
        share = self.line.unequip(place.allocation) if in_two_steps else place.allocation
        self.line.release(share)
        self.line.changed()

    @rule(number=st.integers(0, 9))
    def fail(self, number: int) -> None:
        """One cannot be built."""
        place = self.one_of(number, equipped=False)
        if place is not None:
            self.places.remove(place)
            self.line.leave(place)
            self.line.release(place.allocation)

    @rule(seconds=st.sampled_from([1.0, 30.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.now += seconds
        self.line.changed()

    @rule(cards=st.sets(st.integers(0, 3)))
    def withhold(self, cards: set[int]) -> None:
        """Some cards are not well."""
        self.ledger.withhold({f"GPU-{number}": "ill" for number in cards})
        self.line.changed()

    @precondition(lambda self: self.places)
    @rule()
    def recall(self) -> None:
        """Nothing more is to begin that has no card."""
        self.line.recall("the daemon ends")
        for place in [one for one in self.places if one.back is not None]:
            self.places.remove(place)
            self.line.release(place.allocation)
        self.line.changed()

    @invariant()
    def no_card_is_given_twice(self) -> None:
        """And everybody has what it asked for."""
        if not hasattr(self, "places"):
            return
        equipped = [one for one in self.places if one.equipped.is_set()]
        given = [uuid for one in equipped for uuid in one.allocation.gpus]
        assert len(given) == len(set(given))
        assert all(len(one.allocation.gpus) == one.needs.gpu_count for one in equipped)
        assert self.ledger.held == len(self.places)

    @invariant()
    def no_card_is_idle(self) -> None:
        """Where nobody has waited for long, nobody who is ready lacks what is free."""
        if not hasattr(self, "places"):
            return
        waiting = [one for one in self.places if not one.equipped.is_set()]
        free = self.ledger.free.gpus
        owed = [one for one in waiting if self.is_owed(one)]
        ready = [one for one in (owed[:1] or waiting) if one.is_ready]
        assert all(choose_gpus(one.needs, free) is None for one in ready)


Claims.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestClaims = Claims.TestCase
