"""How long a queue's experiments kept their cards says when the next ones come back."""

from __future__ import annotations

from runner.lifecycle.claiming.forecast import Forecast

HOUR = 3600.0


def learned(*hours: float) -> Forecast[str]:
    """Return what is known after experiments of the queue ``q`` that took so long."""
    forecast = Forecast[str]()
    for number, one in enumerate(hours):
        forecast.begin(number, "q", 0)
        forecast.end(number, one * HOUR)
    return forecast


def test_nothing_is_known_of_a_new_queue() -> None:
    """Its cards may come back at any moment; one experiment says too little."""
    forecast = learned(5)
    forecast.begin(9, "q", 0)
    assert forecast.left(9, 60) == 0
    assert forecast.left(12345, 60) == 0


def test_most_experiments_of_a_queue_are_alike() -> None:
    """One that crashed at once changes nothing."""
    forecast = learned(5, 5, 0.001)
    forecast.begin(9, "q", 0)
    assert forecast.left(9, HOUR) == 4 * HOUR
    assert forecast.typical("q") == 5 * HOUR
    assert forecast.typical("other") == 0


def test_one_that_outlasts_the_others_may_end_at_any_moment() -> None:
    """What is not known is no reason to wait."""
    forecast = learned(5, 5)
    forecast.begin(9, "q", 0)
    assert forecast.left(9, 6 * HOUR) == 0


def test_a_limit_of_its_own_ends_it_before() -> None:
    """However long the others took."""
    forecast = learned(5, 5)
    forecast.begin(9, "q", 0, at_most=2 * HOUR)
    assert forecast.left(9, HOUR) == HOUR


def test_only_the_last_ones_count() -> None:
    """A queue whose experiments have become short is short."""
    forecast = learned(*[5] * 30, *[0.1] * 20)
    assert forecast.typical("q") == 0.1 * HOUR
