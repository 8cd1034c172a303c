"""Plain numbers: histograms, bounded names, and what an attempt's stages leave in them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.board import Board, Entry
from runner.lifecycle.tally import OTHER, SHORT, Durations, Names, Stage, Tally
from runner.model import Ack, Cause, Release
from tests.lifecycle.test_records import RECORD


@given(st.lists(st.floats(-1e3, 1e6)))
def test_every_duration_is_in_one_bucket(seconds: list[float]) -> None:
    """The one with the smallest bound that is not below it; the sum is theirs."""
    durations = Durations(SHORT)
    for one in seconds:
        durations.add(one)
    assert sum(durations.counts) == len(seconds)
    for bound, below in zip(SHORT, _cumulative(durations), strict=True):
        assert below == sum(max(0.0, one) <= bound for one in seconds)


def _cumulative(durations: Durations) -> list[int]:
    found, below = [], 0
    for count in durations.counts[:-1]:
        below += count
        found.append(below)
    return found


@given(st.lists(st.text()))
def test_names_are_bounded_whatever_is_sent(written: list[str]) -> None:
    """The first few keep theirs, short and encodable; all further ones share one."""
    names = Names(3)
    found = [names.of(name) for name in written]
    assert len(set(found)) <= 4
    assert [names.of(name) for name in written] == found
    assert len(set(found) - {OTHER}) <= 3
    for name in found:
        assert len(name.encode()) <= 1000


def test_a_lone_surrogate_can_be_shown() -> None:
    """JSON may hold one, and no page takes it."""
    assert Names(1).of("a\udc80") == "a\\udc80"


def test_settled_attempts_are_counted_by_place_and_by_cause() -> None:
    """Once in each."""
    tally = Tally()
    place = tally.place("local", "local_demo", "mnist")
    tally.end(place, Cause.COMPLETED, Ack())
    tally.end(place, Cause.DRAINED, Release(timedelta(0)))
    assert tally.completed == {place: 2}
    assert tally.ended == {(Cause.COMPLETED, "acked"): 1, (Cause.DRAINED, "released"): 1}


def test_the_stages_of_an_attempt_are_timed() -> None:
    """Each once, when it is over; the last one when the attempt leaves the board."""
    tally = Tally()
    board, entry = Board(tally.stage), Entry(RECORD)
    board.enter(entry)
    for stage in (Stage.FETCH, Stage.ENVIRONMENT):
        entry.begin(stage)
    entry.begin(Stage.RUN, before=timedelta(hours=2))
    entry.begin(Stage.SETTLE)
    assert sum(tally.stages[Stage.SETTLE].counts) == 0
    board.leave(RECORD.run)
    over = [stage for stage in Stage if sum(tally.stages[stage].counts)]
    assert over == [Stage.CLAIM, Stage.FETCH, Stage.ENVIRONMENT, Stage.RUN, Stage.SETTLE]
    assert 7200 <= tally.stages[Stage.RUN].sum < 7260
    assert list(entry.spent) == over
