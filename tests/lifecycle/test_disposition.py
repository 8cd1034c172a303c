"""Every outcome has exactly one disposition."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.disposition import (
    BURIED,
    FINAL,
    FOR_OTHERS,
    INTERRUPTED,
    OVER,
    RETRIED,
    UNCOUNTED,
    RetryPolicy,
    counts,
    dispose,
)
from runner.model import (
    RETRYABLE,
    Ack,
    Bury,
    Cause,
    Completed,
    Deferred,
    Disposition,
    Failed,
    Outcome,
    Refused,
    Release,
    Stopped,
)

SECOND = timedelta(seconds=1)
POLICY = RetryPolicy(max_attempts=3, base_delay=10 * SECOND, longest_delay=60 * SECOND)
AGAIN = RetryPolicy(3, frozenset({Cause.EXIT}), 10 * SECOND, 60 * SECOND)

outcomes = st.one_of(
    st.builds(Completed),
    st.builds(Failed, st.sampled_from(Cause)),
    st.builds(Refused, st.sampled_from(Cause), st.text()),
    st.builds(Deferred, st.timedeltas(timedelta(0), timedelta(hours=1)), st.text()),
    st.builds(Stopped, st.sampled_from(Cause)),
)


@pytest.mark.parametrize(
    ("outcome", "attempt", "policy", "expected"),
    [
        (Completed(), 1, POLICY, Ack()),
        (Failed(Cause.EXIT), 1, POLICY, Ack()),
        (Failed(Cause.TIME_LIMIT), 1, POLICY, Ack()),
        (Failed(Cause.REQUIREMENTS), 1, POLICY, Ack()),
        (Failed(Cause.PYTHON_MISSING), 1, POLICY, Ack()),
        (Failed(Cause.ARTIFACT_MISSING), 1, POLICY, Ack()),
        (Failed(Cause.EXIT), 1, AGAIN, Release(10 * SECOND)),
        (Failed(Cause.EXIT), 2, AGAIN, Release(20 * SECOND)),
        (Failed(Cause.EXIT), 3, AGAIN, Ack()),
        (Failed(Cause.LIFETIME), 1, POLICY.wished(["lifetime"], None), Ack()),
        (Failed(Cause.HOST_FAULT), 1, POLICY, Release(10 * SECOND)),
        (Failed(Cause.STORE_UNAVAILABLE), 2, POLICY, Release(20 * SECOND)),
        (
            Failed(Cause.STORE_UNAVAILABLE, detail="minio:9000 refuses"),
            3,
            POLICY,
            Bury("store-unavailable after 3 attempts: minio:9000 refuses"),
        ),
        (Failed(Cause.INTERNAL), 1, POLICY, Release(10 * SECOND)),
        (Refused(Cause.BAD_REQUEST, "no filename"), 0, POLICY, Bury("no filename")),
        (Refused(Cause.NOT_A_REQUEST, "not JSON"), 0, POLICY, Release(60 * SECOND)),
        (Refused(Cause.TOO_BIG, "64 cores"), 0, POLICY, Release(60 * SECOND)),
        (Refused(Cause.NOT_OURS, "it has ended before"), 0, POLICY, Ack()),
        (Deferred(5 * SECOND, "another runner has it"), 0, POLICY, Release(5 * SECOND)),
        (Deferred(7 * SECOND, "no room", Cause.NO_ROOM), 0, POLICY, Release(7 * SECOND)),
        (Stopped(Cause.DRAINED), 2, POLICY, Release(timedelta(0))),
        (Stopped(Cause.LEASE_LOST), 2, POLICY, Release(timedelta(0))),
        (Stopped(Cause.CANCELLED), 1, POLICY, Ack()),
    ],
    ids=str,
)
def test_what_failed_decides_what_becomes_of_the_message(
    outcome: Outcome, attempt: int, policy: RetryPolicy, expected: Disposition
) -> None:
    """The table of the design."""
    assert dispose(outcome, attempt=attempt, policy=policy, receive_count=attempt) == expected


@given(outcomes, st.integers(0, 50), st.integers(1, 100), st.sets(st.sampled_from(Cause)))
def test_there_is_exactly_one_disposition(
    outcome: Outcome, attempt: int, received: int, retry_on: set[Cause]
) -> None:
    """Total; delays lie between zero and the longest; what never counts is never buried for it."""
    policy = RetryPolicy(3, frozenset(retry_on), 10 * SECOND, 60 * SECOND)
    found = dispose(outcome, attempt=attempt, policy=policy, receive_count=received)
    assert isinstance(found, Ack | Release | Bury)
    if isinstance(found, Release) and not isinstance(outcome, Deferred):
        assert timedelta(0) <= found.delay <= policy.longest_delay
    if isinstance(found, Bury):
        assert counts(outcome) or outcome.cause in BURIED | UNCOUNTED
        assert found.reason


@given(outcomes)
def test_nothing_is_tried_for_ever_on_our_own_count(outcome: Outcome) -> None:
    """What counts ends when the attempts are used up."""
    found = dispose(outcome, attempt=3, policy=AGAIN, receive_count=3)
    assert not (counts(outcome) and isinstance(found, Release))


def test_a_message_that_brings_daemons_down_is_buried_in_the_end() -> None:
    """The broker's count is the fuse where ours was never written."""
    found = dispose(Failed(Cause.HOST_FAULT), attempt=1, policy=POLICY, receive_count=POLICY.fuse)
    assert isinstance(found, Bury)
    kept = dispose(Failed(Cause.GPU_FAULT), attempt=1, policy=POLICY, receive_count=POLICY.fuse)
    assert isinstance(kept, Release)


def test_an_outage_before_the_start_costs_no_attempt() -> None:
    """It is waited for, longer each time, for about a day; a misspelt host is buried in the end."""
    away = Deferred(timedelta(0), "minio:9000 does not answer", Cause.STORE_UNAVAILABLE)
    assert not counts(away)

    def told(received: int) -> Disposition:
        return dispose(away, attempt=0, policy=POLICY, receive_count=received)

    assert [told(n) for n in (1, 2, 40)] == [Release(n * SECOND) for n in (10, 20, 60)]
    assert told(POLICY.patience) == Bury(
        "store-unavailable, handed out 100 times: minio:9000 does not answer"
    )


def test_a_broken_card_costs_no_attempt() -> None:
    """It is tried again, later each time; where cards break under it for a day, it is buried."""
    broken = Failed(Cause.GPU_FAULT, 1, "the driver reports Xid 79")
    assert not counts(broken)
    assert counts(Failed(Cause.GPU_OUT_OF_MEMORY, 1))

    def told(received: int) -> Disposition:
        return dispose(broken, attempt=0, policy=POLICY, receive_count=received)

    assert [told(n) for n in (1, 2, 40)] == [Release(n * SECOND) for n in (10, 20, 60)]
    reason = "gpu-fault, handed out 100 times: the driver reports Xid 79"
    assert told(POLICY.patience) == Bury(reason)


def test_every_cause_belongs_to_one_kind() -> None:
    """A new cause has to be put somewhere."""
    kinds = [FINAL, RETRIED, INTERRUPTED, FOR_OTHERS, OVER, BURIED]
    assert sorted(cause for kind in kinds for cause in kind) == sorted(Cause)


def test_what_a_request_may_want_retried_can_be_retried() -> None:
    """No accepted wish is without effect."""
    policy = POLICY.wished([cause.value for cause in RETRYABLE], 9)
    assert all(policy.retries(cause) for cause in RETRYABLE)
    assert policy.max_attempts == 9
    assert POLICY.wished([], None) == POLICY


def test_delays_double_up_to_the_longest() -> None:
    """Also after more attempts than anybody makes."""
    seconds = [POLICY.delay(n).total_seconds() for n in (0, 1, 2, 3, 4, 5, 10_000)]
    assert seconds == [10, 10, 20, 40, 60, 60, 60]


def test_who_outgrew_its_own_share_is_not_tried_again_unless_somebody_wants_it() -> None:
    """A full disk of the machine is another matter: elsewhere there may be room."""

    def told(outcome: Failed, policy: RetryPolicy) -> Disposition:
        return dispose(outcome, attempt=1, policy=policy, receive_count=1)

    full = Failed(Cause.OUT_OF_DISK, None, "the disk is full")
    own = Failed(Cause.OUT_OF_DISK, None, "it holds 12 GB", outgrew=True)
    wanted = RetryPolicy(retry_on=frozenset({Cause.OUT_OF_DISK}))
    assert isinstance(told(full, RetryPolicy()), Release)
    assert told(own, RetryPolicy()) == Ack()
    assert isinstance(told(own, wanted), Release)
