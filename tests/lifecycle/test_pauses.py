"""Trouble is waited out: longer each time, with jitter, and a refusal for minutes."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from runner.errors import QueueDenied, QueueUnavailable
from runner.lifecycle.sources.pauses import (
    LONGEST_DENIED_PAUSE,
    LONGEST_TROUBLE_PAUSE,
    TROUBLE_PAUSE,
    Pauses,
)

AWAY, DENIED = QueueUnavailable("away"), QueueDenied("no sqs:ReceiveMessage")


def test_pauses_double_up_to_a_minute_and_begin_anew() -> None:
    """What works again was a passing trouble."""
    pauses = Pauses(chance=lambda: 0.5)
    assert [pauses.after(AWAY) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    pauses.over()
    assert pauses.after(AWAY) == TROUBLE_PAUSE


def test_a_refusal_waits_for_minutes() -> None:
    """A right is given by a person, and asking does not help."""
    pauses = Pauses(chance=lambda: 0.5)
    assert [pauses.after(DENIED) for _ in range(6)] == [60, 120, 240, 300, 300, 300]
    assert pauses.after(AWAY) == LONGEST_TROUBLE_PAUSE


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=30))
def test_no_pause_is_a_busy_loop(chance: float, troubles: list[bool]) -> None:
    """Whatever the mixture and the dice, there is a pause, and it stays bounded."""
    pauses = Pauses(chance=lambda: chance)
    for is_denied in troubles:
        pause = pauses.after(DENIED if is_denied else AWAY)
        assert 0.75 * TROUBLE_PAUSE <= pause <= 1.25 * LONGEST_DENIED_PAUSE
        assert not is_denied or pause >= 45


def test_two_runners_do_not_come_back_in_step() -> None:
    """A broker that returns is not met by everybody in the same moment."""
    assert len({Pauses().after(AWAY) for _ in range(20)}) > 10


def test_a_refusal_is_said_once_until_it_has_worked_again() -> None:
    """Another sentence is news, and so is the same after a success; other trouble always is."""
    pauses = Pauses()
    assert [pauses.is_news(DENIED), pauses.is_news(DENIED)] == [True, False]
    assert pauses.is_news(QueueDenied("no sqs:ChangeMessageVisibility"))
    assert [pauses.is_news(AWAY), pauses.is_news(AWAY)] == [True, True]
    assert pauses.is_news(DENIED)
    assert not pauses.is_news(DENIED)
    pauses.over()
    assert pauses.is_news(DENIED)
