"""The decisions about the end of a run, without any run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.supervisor.countdown import KILL, LEFTOVER_GRACE, ORPHANED, TERM, WAIT, Countdown

SECONDS = st.floats(min_value=0, max_value=1e6)
LIMITS = st.dictionaries(st.sampled_from(["time-limit", "lifetime"]), SECONDS)


def test_nothing_is_due_before_a_limit() -> None:
    """A run within its limits is left alone, and it is known when to look again."""
    countdown = Countdown({"time-limit": 10}, grace=5, orphan_timeout=60, now=100)
    assert countdown.look(109.9) == WAIT
    assert countdown.next() == 110
    assert countdown.reason == ""


def test_a_limit_means_term_once_then_kill() -> None:
    """TERM when the limit is reached, nothing during the grace, KILL from its end on."""
    countdown = Countdown({"time-limit": 10}, grace=5, orphan_timeout=60, now=100)
    looks = [countdown.look(now) for now in (110, 111, 114.9, 115, 116)]
    assert looks == [TERM, WAIT, WAIT, KILL, KILL]
    assert countdown.reason == "time-limit"


def test_the_earliest_limit_is_the_reason() -> None:
    """Of two limits that have passed by the time one looks, the earlier one is told."""
    countdown = Countdown({"time-limit": 10, "lifetime": 9}, 5, 60, now=0)
    countdown.look(20)
    assert countdown.reason == "lifetime"


def test_the_first_reason_stays_and_a_grace_only_shrinks() -> None:
    """A later stop changes neither the reason nor gives more time."""
    countdown = Countdown({}, grace=30, orphan_timeout=60, now=0)
    countdown.stop("drained", 0, grace=10)
    countdown.stop("cancelled", 1)
    assert (countdown.reason, countdown.kill_at) == ("drained", 10)
    countdown.stop("cancelled", 2, grace=0)
    assert (countdown.reason, countdown.kill_at) == ("drained", 2)


def test_no_grace_means_no_term() -> None:
    """Asked to kill at once, nothing is asked first."""
    countdown = Countdown({}, grace=30, orphan_timeout=60, now=0)
    countdown.stop("cancelled", 5, grace=0)
    assert countdown.look(5) == KILL


def test_being_adopted_puts_the_orphans_end_off() -> None:
    """The orphan timeout counts from the last moment at which a daemon was there."""
    countdown = Countdown({}, grace=5, orphan_timeout=60, now=0)
    countdown.adopted(50)
    assert countdown.look(109) == WAIT
    assert countdown.look(110) == TERM
    assert countdown.reason == ORPHANED


def test_leftovers_have_little_time_and_no_reason() -> None:
    """An experiment that ended by itself was not stopped, whatever it left behind."""
    countdown = Countdown({}, grace=30, orphan_timeout=60, now=0)
    countdown.leftovers(10)
    countdown.leftovers(11)
    assert countdown.kill_at == 10 + LEFTOVER_GRACE
    assert countdown.look(10) == TERM
    assert countdown.reason == ""


def test_leftovers_of_a_stopped_run_keep_its_grace() -> None:
    """A wrapper that ends first does not take the grace from what it started."""
    countdown = Countdown({}, grace=1, orphan_timeout=60, now=0)
    countdown.stop("drained", 0)
    countdown.leftovers(0.5)
    assert countdown.kill_at == 1


@given(limits=LIMITS, grace=SECONDS, orphan=SECONDS, looks=st.lists(SECONDS))
def test_every_run_ends(
    limits: dict[str, float], grace: float, orphan: float, looks: list[float]
) -> None:
    """In time order the answers are WAIT, then at most one TERM, then only KILL."""
    countdown = Countdown(limits, grace, orphan, now=0)
    answers = [countdown.look(now) for now in sorted(looks)]
    if KILL in answers:
        assert set(answers[answers.index(KILL) :]) == {KILL}
    assert answers.count(TERM) <= 1
    countdown.look(countdown.next())
    assert countdown.look(countdown.next()) == KILL
    assert countdown.reason


@given(limits=LIMITS, grace=SECONDS, orphan=SECONDS, now=SECONDS)
def test_nothing_changes_before_the_next_moment(
    limits: dict[str, float], grace: float, orphan: float, now: float
) -> None:
    """Sleeping until ``next`` misses nothing."""
    countdown = Countdown(limits, grace, orphan, now=0)
    assert (countdown.look(now) == WAIT) == (now < min([orphan, *limits.values()]))
