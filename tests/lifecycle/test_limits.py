"""How long an attempt may last."""

from __future__ import annotations

from datetime import timedelta

from runner.lifecycle.runs.limits import checkpoint_interval, limits
from runner.model import Cause, Request
from tests.request.sample import decoded, sample

HOUR = timedelta(hours=1)


def request(**members: object) -> Request:
    """Return a request with these limits."""
    document = sample()
    for name, value in members.items():
        place = (
            "config" if name in {"experimentLifetime", "saveWorkspaceFrequency"} else "experiment"
        )
        document[place][name] = value
    return decoded(document)


def test_without_limits_the_cap_is_the_limit() -> None:
    """Nothing runs for ever."""
    assert limits(request(), now=1000, claimed_at=1000) == {Cause.TIME_LIMIT: 96 * HOUR}


def test_the_shorter_of_cap_and_duration_counts() -> None:
    """The message cannot raise the operator's cap."""
    for written, expected in (("20m", HOUR / 3), ("200h", 2 * HOUR)):
        found = limits(request(max_duration=written), cap=2 * HOUR, now=0, claimed_at=0)
        assert found == {Cause.TIME_LIMIT: expected}


def test_a_lifetime_counts_from_the_submission() -> None:
    """Waiting in the queue is part of it; what is left may be less than nothing."""
    wanted = request(experimentLifetime="1h", time_added=1000.0)
    assert limits(wanted, now=2800, claimed_at=2000)[Cause.LIFETIME] == HOUR / 2
    assert limits(wanted, now=5000, claimed_at=2000)[Cause.LIFETIME] < timedelta(0)


def test_a_lifetime_without_a_submission_counts_from_the_claim() -> None:
    """Also where the submitter's clock is ahead of ours."""
    for added in (None, 99999.0):
        wanted = request(experimentLifetime="1h", time_added=added)
        assert limits(wanted, now=3800, claimed_at=2000)[Cause.LIFETIME] == HOUR / 2


def test_a_clock_that_is_set_back_makes_no_life_longer() -> None:
    """Hours back, and still no more is left than there was at the submission."""
    wanted = request(experimentLifetime="1h", time_added=99999.0)
    assert limits(wanted, now=5000, claimed_at=99999)[Cause.LIFETIME] == HOUR


def test_the_interval_of_the_request_goes_before_the_operators() -> None:
    """One minute, as the README of the original shows it, works."""
    assert checkpoint_interval(request(saveWorkspaceFrequency="1m"), HOUR) == HOUR / 60
    assert checkpoint_interval(request(), HOUR) == HOUR
    assert checkpoint_interval(request(), None) is None
    assert checkpoint_interval(request(saveWorkspaceFrequency="1ms"), None) == timedelta(seconds=1)
