"""The claiming policy never gives more than there is, and forgets nobody."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runner.lifecycle.claiming.seats import Poll, Room, Seat
from runner.lifecycle.claiming.shares import LONGEST_CREDIT, Account, level, share_of
from runner.lifecycle.claiming.turns import Turns
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs

TOTAL = Capacity(4, Bytes(100), Bytes(100))
SURE = st.booleans()


def seats(count: int, *, tells: bool = False) -> list[Seat]:
    """Return some seats of one project."""
    return [Seat(f"q{n}", tells=tells) for n in range(count)]


def asking(*queues: Seat, now: float = 0.0) -> Turns:
    """Return a table at which these ask."""
    turns = Turns()
    for seat in queues:
        turns.ask(seat, now)
    return turns


def test_without_a_slot_nobody_receives() -> None:
    """Capacity comes first, whatever waits."""
    assert asking(*seats(3, tells=True)).choose(0.0, Room(0)) == []


def test_each_queue_that_has_work_needs_a_slot_of_its_own() -> None:
    """Three have work and there are two slots: two receive, in the order of asking."""
    three = seats(3, tells=True)
    assert asking(*three).choose(0.0, Room(2)) == three[:2]


def test_looking_gets_wider_while_nothing_is_found() -> None:
    """One queue of which nothing is known, then more and more, for one slot."""
    many = seats(40)
    turns = asking(*many)
    sizes = []
    for second in range(1, 5):
        chosen = turns.choose(second - 1.0, Room(1))
        sizes.append(len(chosen))
        for seat in chosen:
            turns.open(seat, second - 1.0)
        turns.glanced(float(second))
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 6


def test_a_find_makes_looking_narrow_again() -> None:
    """Where one queue has work others may have some: no more is received than can be served."""
    many = seats(9)
    turns = asking(*many)
    first = turns.open(turns.choose(0.0, Room(1))[0], 0.0)
    turns.glanced(1.0)
    second, third = (turns.open(seat, 1.0) for seat in turns.choose(1.0, Room(1))[:2])
    turns.nothing(third, 1.1)
    turns.found(second, 1.1)
    assert len(turns.choose(1.1, Room(1))) == 1
    assert not first.is_glance


def test_watching_goes_on_without_a_slot_of_its_own() -> None:
    """Queues just seen empty are all watched for one free slot, behind those with work."""
    many = seats(50)
    turns = Turns()
    for seat in many:
        seat.empty_at = 9.5
        turns.ask(seat, 10.0)
    assert turns.choose(10.0, Room(1)) == many
    worker = Seat("w", tells=True)
    turns.ask(worker, 10.0)
    assert turns.choose(10.0, Room(1)) == [worker]
    assert turns.choose(10.0, Room(2)) == [worker, *many]


def test_what_did_not_fit_is_waited_for_until_the_hint_has_aged() -> None:
    """A queue whose last message needed more than is free is passed; later it is tried."""
    big, small = seats(2, tells=True)
    turns = Turns()
    turns.ask(big, 0.0, Needs(cores=4), until=30.0)
    turns.ask(small, 0.0)
    room = Room(1, fits=lambda needs: needs.cores <= 1)
    assert turns.choose(0.0, room) == [small]
    assert turns.wake_at(0.0) == 30.0
    assert turns.choose(30.0, room) == [big]


def test_a_higher_priority_goes_first() -> None:
    """Whatever it had before."""
    low, high = Seat("low", tells=True), Seat("high", tells=True, priority=1)
    turns = asking(low, high)
    turns.begin(high, 1, 1.0, -1000.0)
    assert turns.choose(0.0, Room(1)) == [high]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e6)), max_size=8), st.floats(0, 1e6))
def test_an_account_counts_what_ran_and_what_runs_alike(
    runs: list[tuple[float, float]], now: float
) -> None:
    """Ending a run changes nothing at that moment."""
    account = Account()
    for number, (share, begun) in enumerate(runs):
        account.begin(number, share, min(begun, now))
    before = account.used(now)
    for number in range(len(runs)):
        account.end(number, now)
    assert abs(account.used(now) - before) <= 1e-6 * max(1.0, before)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8))
def test_nobody_is_behind_for_more_than_the_credit(used: list[float]) -> None:
    """The level is where the least is, or the credit below the most."""
    accounts = [Account(settled=value, waiting=1) for value in used]
    found = level(accounts, 0.0)
    assert found >= max(used) - LONGEST_CREDIT - 1e-6
    assert found >= min(used)
    assert level([], 0.0) == 0.0
    idle = [Account(settled=value) for value in used]
    assert level(idle, 0.0) == max(used)


def test_a_share_is_the_largest_of_its_parts() -> None:
    """One core of four with half the memory is half the machine."""
    assert share_of(Allocation(1, Bytes(50), Bytes(0)), TOTAL) == 0.5


def test_a_part_of_a_card_is_a_part_of_a_share() -> None:
    """By what it has most of; a card that is gone counts for nothing."""
    cards = tuple(Gpu(f"GPU-{n}", "card", Bytes(40), 8) for n in range(4))
    total = Capacity(100, Bytes(100), Bytes(0), cards)
    whole = Allocation(1, Bytes(0), Bytes(0), ("GPU-0", "GPU-1"))
    assert share_of(whole, total) == 0.5
    part = Allocation(1, Bytes(0), Bytes(0), ("GPU-0", "GPU-gone"), 2, Bytes(20), "g")
    assert share_of(part, total) == 0.125


class Table(RuleBasedStateMachine):
    """Queues of all kinds ask, look, find and go, while the machine fills and empties."""

    @initialize(slots=st.integers(1, 4), kinds=st.lists(SURE, min_size=1, max_size=12))
    def begin(self, slots: int, kinds: list[bool]) -> None:
        """Sit down."""
        self.now = 0.0
        self.slots = slots
        self.turns = Turns()
        self.seats = [
            Seat(f"q{n}", f"p{n % 3}", n % 2, tells=tells) for n, tells in enumerate(kinds)
        ]
        self.idle = set(self.seats)
        self.polls: list[Poll] = []
        self.running: list[tuple[int, Seat]] = []
        self.count = 0

    @property
    def free(self) -> int:
        """Slots that nobody has to himself."""
        own = sum(1 for poll in self.polls if poll.is_sure and poll.is_glance)
        return self.slots - len(self.running) - own

    @rule(number=st.integers(0, 11))
    def ask(self, number: int) -> None:
        """A queue asks."""
        seat = self.seats[number % len(self.seats)]
        if seat in self.idle:
            self.idle.discard(seat)
            self.turns.ask(seat, self.now)

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        self.turns.glanced(self.now)

    @rule()
    def grant(self) -> None:
        """Whoever is chosen receives; the choice is the same when it is asked for again."""
        chosen = self.turns.choose(self.now, Room(self.free))
        assert chosen == self.turns.choose(self.now, Room(self.free))
        assert len(chosen) == len(set(chosen))
        assert sum(seat.is_sure for seat in chosen) <= max(0, self.free)
        self.polls.extend(self.turns.open(seat, self.now) for seat in chosen)

    @rule(number=st.integers(0, 11), end=st.sampled_from(["found", "nothing", "failed"]))
    def end_look(self, number: int, end: str) -> None:
        """A receive ends."""
        if not self.polls:
            return
        poll = self.polls.pop(number % len(self.polls))
        getattr(self.turns, end)(poll, self.now)
        self.idle.add(poll.seat)
        if end == "found" and self.free > 0:
            self.count += 1
            self.running.append((self.count, poll.seat))
            self.turns.begin(poll.seat, self.count, 1 / self.slots, self.now)

    @rule()
    def end_run(self) -> None:
        """An experiment ends."""
        if self.running:
            run, seat = self.running.pop(0)
            self.turns.end(seat, run, self.now)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """With a slot and quiet all around, somebody is chosen as long as anybody asks."""
        if not hasattr(self, "turns") or self.free < 1:
            return
        asks = set(self.seats) - self.idle - {poll.seat for poll in self.polls}
        if asks and not any(poll.is_glance for poll in self.polls):
            assert self.turns.choose(self.now, Room(self.free))


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(SURE, st.integers(0, 2), st.floats(0.1, 400)), min_size=2, max_size=6),
    st.integers(1, 3),
)
def test_every_queue_with_work_has_its_turn(
    queues: list[tuple[bool, int, float]], slots: int
) -> None:
    """Of queues that always have work, each runs something before anybody has had the credit."""
    turns = Turns()
    table = [Seat(f"q{n}", f"p{p}", tells=tells) for n, (tells, p, _) in enumerate(queues)]
    lengths = {seat: length for seat, (_, _, length) in zip(table, queues, strict=True)}
    served: set[Seat] = set()
    running: list[tuple[float, int, Seat]] = []
    now, count = 0.0, 0
    for seat in table:
        turns.ask(seat, now)
    for _ in range(60 * len(table)):
        turns.glanced(now)
        for seat in turns.choose(now, Room(slots - len(running))):
            if len(running) == slots:
                break
            turns.found(turns.open(seat, now), now)
            count += 1
            served.add(seat)
            running.append((now + lengths[seat], count, seat))
            turns.begin(seat, count, 1 / slots, now)
            turns.ask(seat, now)
        running.sort()
        now, run, seat = running.pop(0)
        turns.end(seat, run, now)
    assert served == set(table)
