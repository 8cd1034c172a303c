"""When calls are repeated, and when they are given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.blocking import Interrupted, Stop
from runner.errors import StoreUnavailable
from runner.stores.base import NotFound
from runner.stores.remote.client import Absent, Busy, Lasting
from runner.stores.remote.retrying import Attempts, Plan

CHANCES = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


@given(tries=st.integers(1, 10_000), chance=CHANCES, asked=st.floats(0, 100))
def test_pauses_are_bounded_and_never_shorter_than_asked(
    tries: int, chance: float, asked: float
) -> None:
    """However often it failed, and whatever the store wants."""
    plan = Plan()
    assert asked <= plan.pause(tries, chance, asked) <= asked + plan.longest


@given(tries=st.integers(1, 10), chance=CHANCES)
def test_pauses_grow(tries: int, chance: float) -> None:
    """Each is drawn from twice as much as the one before."""
    plan = Plan(first=0.5, longest=1e6)
    assert plan.pause(tries + 1, chance) == 2 * plan.pause(tries, chance)


class Clock:
    """A clock that the pauses move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        """Note a pause and let its time pass."""
        self.pauses.append(seconds)
        self.now += seconds


class Paused(Stop):
    """A stop whose pauses take no time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def pause(self, seconds: float) -> None:
        """Move the clock."""
        self._clock.pause(seconds)


def attempts(clock: Clock, plan: Plan) -> Attempts:
    """Return attempts with the largest pauses there are."""
    return Attempts(Paused(clock), plan, clock=lambda: clock.now, chance=lambda: 1.0)


def failing(*errors: Exception) -> tuple[list[Exception], object]:
    """Return what is left to fail with, and a function that does."""
    left = list(errors)

    def act() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return left, act


def test_what_fails_is_called_again() -> None:
    """With growing pauses, until it succeeds."""
    clock = Clock()
    _, act = failing(*[StoreUnavailable("503")] * 3)
    assert attempts(clock, Plan(first=1.0)).run(act) == "done"  # type: ignore[arg-type]
    assert clock.pauses == [1.0, 2.0, 4.0]


def test_the_last_error_is_raised_when_patience_ends() -> None:
    """No pause is begun that would end too late."""
    clock = Clock()
    left, act = failing(*[StoreUnavailable(f"{n}") for n in range(10)])
    with pytest.raises(StoreUnavailable, match="3"):
        attempts(clock, Plan(first=1.0, patience=10.0)).run(act)  # type: ignore[arg-type]
    assert clock.pauses == [1.0, 2.0, 4.0]
    assert len(left) == 6


def test_progress_renews_the_patience() -> None:
    """A transfer of hours may fail many times, as long as bytes move in between."""
    clock = Clock()
    tries = attempts(clock, Plan(first=4.0, patience=10.0))
    for _ in range(20):
        tries.after(StoreUnavailable("reset"), 1)
        tries.progressed()
    assert sum(clock.pauses) == 80.0


def test_a_store_that_names_a_time_is_left_alone_for_it() -> None:
    """And for a while more, by chance."""
    clock = Clock()
    _, act = failing(Busy("slow down", 7.0))
    attempts(clock, Plan(first=1.0)).run(act)  # type: ignore[arg-type]
    assert clock.pauses == [8.0]


@pytest.mark.parametrize("error", [NotFound("x"), Lasting("x"), LookupError("x")])
def test_other_errors_come_out_at_once(error: Exception) -> None:
    """Trying again would not help."""
    clock = Clock()
    _, act = failing(error)
    with pytest.raises(type(error)):
        attempts(clock, Plan()).run(act)  # type: ignore[arg-type]
    assert clock.pauses == []


def test_whatever_a_cut_call_raises_is_an_interruption() -> None:
    """An SDK may make anything of a connection that is gone."""
    stop = Stop()

    def act() -> None:
        stop.set()
        raise ValueError("I/O operation on closed file")

    with pytest.raises(Interrupted):
        Attempts(stop).run(act)


def test_where_nobody_is_patience_ends_sooner() -> None:
    """A misspelt host is known within seconds; one that has answered before is waited for."""
    clock = Clock()
    plan = Plan(first=1.0, patience=60.0, absence=5.0)
    left, act = failing(*[Absent("no such host")] * 10)
    with pytest.raises(Absent):
        attempts(clock, plan).run(act)  # type: ignore[arg-type]
    assert (clock.pauses, len(left)) == ([1.0, 2.0], 7)
    begun = attempts(clock, plan)
    begun.progressed()
    _, act = failing(*[Absent("it is started anew")] * 5)
    assert begun.run(act) == "done"  # type: ignore[arg-type]


def test_whoever_waits_is_told_what_for() -> None:
    """Not of what is over at once; from then on each time."""
    clock = Clock()
    said: list[str] = []
    plan = Plan(first=0.5, told=lambda error: said.append(str(error)))
    _, act = failing(*[StoreUnavailable(f"failure {number}") for number in range(1, 6)])
    assert attempts(clock, plan).run(act) == "done"  # type: ignore[arg-type]
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert said == ["failure 3", "failure 4", "failure 5"]
