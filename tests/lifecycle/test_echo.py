"""What all queues of an account say at once is heard once."""

from __future__ import annotations

from runner.lifecycle.sources.echo import Echo


def test_the_same_words_are_an_echo_for_a_while() -> None:
    """An outage that goes on is said again, not once for ever."""
    now = 0.0
    echo = Echo(clock=lambda: now)
    assert [echo.repeats("down") for _ in range(200)] == [False] + [True] * 199
    now = 59.0
    assert echo.repeats("down")
    now = 61.0
    assert not echo.repeats("down")


def test_other_words_are_news() -> None:
    """Two troubles at a time are two."""
    echo = Echo(clock=lambda: 0.0)
    assert not echo.repeats("down")
    assert not echo.repeats("throttled")
    assert echo.repeats("down")
