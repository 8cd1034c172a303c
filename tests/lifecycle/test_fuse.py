"""Failures in a row are the machine's where different projects have them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.disposition import FINAL, RETRIED
from runner.lifecycle.fuses.fuse import RAN, SUSPICIOUS, Fuse, Sign, judged
from runner.model import Cause

HOST, WALLS, CARD = Cause.HOST_FAULT, Cause.SANDBOX_UNAVAILABLE, Cause.GPU_FAULT
NEEDS, WELL = Cause.REQUIREMENTS, Cause.COMPLETED


class Clock:
    """Seconds that pass when we say so."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def signs(*words: str) -> list[Sign]:
    """Read ``host:a/1``: the cause, the project, the key, and the cards after that."""
    causes = {"host": HOST, "walls": WALLS, "card": CARD, "needs": NEEDS, "well": WELL}
    found = []
    for word in words:
        cause, _, rest = word.partition(":")
        project, key, *cards = rest.split("/")
        found.append(Sign(causes[cause], key, project, tuple(cards)))
    return found


@pytest.mark.parametrize(
    ("row", "is_blown"),
    [
        (["host:a/1", "host:b/2", "host:a/3"], True),
        (["host:a/1", "host:a/2", "host:a/3"], False),
        (["walls:a/1", "walls:a/2", "walls:a/3"], True),
        (["walls:a/1", "host:a/2", "walls:a/3"], False),
        (["walls:a/1", "host:b/2", "walls:a/3"], True),
        (["host:a/1", "host:a/1", "host:b/2"], False),
        (["walls:a/1", "walls:a/1", "walls:a/1"], False),
        (["needs:a/1", "needs:a/2", "needs:b/3"], False),
        (["needs:a/1", "needs:c/2", "needs:b/3"], True),
        (["card:a/1/x", "card:b/2/x", "card:c/3/x"], False),
        (["card:a/1/x", "card:b/2/y", "card:c/3/z"], True),
        (["host:a/1", "well:b/2", "host:b/3", "host:a/4"], False),
        (["host:a/1", "host:b/2"], False),
    ],
)
def test_what_fails_and_for_whom_decides(row: Sequence[str], is_blown: bool) -> None:  # noqa: FBT001
    """The same experiment again is one failure, and so are one project's typing errors."""
    fuse = Fuse(3)
    for sign in signs(*row):
        fuse.ended(sign)
    assert fuse.is_blown == is_blown


def test_what_fails_before_anything_began_is_the_machines() -> None:
    """Whoever's it was: a disk that takes no records, say."""
    fuse = Fuse(3)
    for attempt in ("1", "2", "3"):
        assert not fuse.is_blown
        fuse.ended(Sign(HOST, attempt, "a", is_machines=True))
    assert fuse.is_blown
    fuse = Fuse(3)
    for key in ("1", "2", "3"):
        fuse.ended(Sign(HOST, key, "a", is_machines=key != "2"))
    assert not fuse.is_blown


def test_what_has_blown_is_explained() -> None:
    """With how many of whom, and what they failed for."""
    row = signs("host:a/1", "walls:b/2", "host:b/3")
    assert judged(row, 3) == (
        "3 experiments of 2 projects failed in a row: host-fault, sandbox-unavailable"
    )


@given(st.lists(st.tuples(st.sampled_from(Cause), st.integers(0, 9)), max_size=60))
def test_no_project_alone_blows_it_and_nothing_does_that_ran(ends: list[tuple[Cause, int]]) -> None:
    """But for a sandbox that does not start, which no experiment can bring about."""
    fuse = Fuse(2)
    for cause, key in ends:
        fuse.ended(Sign(cause, str(key), "one"))
        if fuse.is_blown:
            assert cause is WALLS
            fuse.probed("")
    never = Fuse(0)
    for cause, key in ends:
        never.ended(Sign(cause, str(key), key))
    assert not never.is_blown


def test_every_cause_that_it_heeds_is_a_failure_or_a_run() -> None:
    """What was refused, drained or cancelled says nothing about the machine."""
    assert not SUSPICIOUS & RAN
    assert RETRIED | FINAL | {Cause.COMPLETED} >= SUSPICIOUS | RAN


def test_probes_are_made_again_and_again_ever_more_rarely() -> None:
    """Until one passes; then half as many failures are enough, until something has run."""
    clock, told = Clock(), list[float]()
    fuse = Fuse(4, clock)
    fuse.listeners.append(lambda: told.append(clock.now))
    for sign in signs("host:a/1", "host:b/2", "host:a/3", "host:b/4"):
        fuse.ended(sign)
    assert (fuse.is_blown, fuse.seconds_to_probe, told) == (True, 30.0, [0.0])
    waits = []
    for _ in range(7):
        clock.now += fuse.seconds_to_probe
        fuse.probed("the disk takes nothing")
        waits.append(fuse.seconds_to_probe)
    assert waits == [60, 120, 240, 480, 600, 600, 600]
    assert fuse.said.endswith("; a probe experiment fails: the disk takes nothing")
    fuse.probed("")
    assert (fuse.is_blown, fuse.said) == (False, "")
    for sign in signs("host:a/5", "host:b/6"):
        fuse.ended(sign)
    assert fuse.is_blown
    assert fuse.seconds_to_probe == 600
    assert fuse.times == 2


def test_what_ran_makes_it_as_patient_as_before() -> None:
    """One that was claimed before it blew, and ends well, has the probe made at once."""
    clock = Clock()
    fuse = Fuse(2, clock)
    for sign in signs("host:a/1", "host:b/2"):
        fuse.ended(sign)
    fuse.ended(signs("well:c/3")[0])
    assert fuse.why
    assert fuse.seconds_to_probe == 0
    fuse.probed("")
    fuse.ended(signs("well:c/4")[0])
    fuse.ended(signs("host:a/5")[0])
    assert not fuse.said
    fuse.ended(signs("host:b/6")[0])
    assert fuse.seconds_to_probe == 30


def test_an_operator_may_have_it_looked_at_now() -> None:
    """Where it is whole there is nothing to look at."""
    fuse, told = Fuse(1), list[bool]()
    fuse.listeners.append(lambda: told.append(True))
    fuse.look_now()
    assert told == []
    fuse.ended(signs("walls:a/1")[0])
    fuse.look_now()
    assert (fuse.seconds_to_probe, told) == (0.0, [True, True])
