"""When a claim is expired, decided without any clock but the observer's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.queues.local.sightings import Beat, Sightings

INTERVAL = 1.0
LEASE = 4.0


def test_a_value_unchanged_for_a_lease_has_expired() -> None:
    """Not before, and every look says it again until the claim is gone."""
    sightings = Sightings(INTERVAL)
    looks = [sightings.expired(float(now), {"c": Beat(b"1", LEASE)}) for now in range(6)]
    assert looks == [[], [], [], [], ["c"], ["c"]]


def test_every_change_starts_the_lease_anew() -> None:
    """A holder that beats once in each lease keeps its claim for ever."""
    sightings = Sightings(INTERVAL)
    for now in range(100):
        value = str(now // 4).encode()
        assert not sightings.expired(float(now), {"c": Beat(value, LEASE)})


def test_a_claim_that_never_beat_expires() -> None:
    """Its holder died between claiming and its first beat."""
    sightings = Sightings(INTERVAL)
    looks = [sightings.expired(float(now), {"c": Beat(b"", LEASE)}) for now in range(5)]
    assert looks[-1] == ["c"]


def test_the_holder_says_how_long_its_lease_is() -> None:
    """Runners of different settings share a directory."""
    sightings = Sightings(INTERVAL)
    claims = {"short": Beat(b"1", 1.0), "long": Beat(b"1", 100.0)}
    sightings.expired(0.0, claims)
    assert sightings.expired(1.0, claims) == ["short"]


def test_a_frozen_observer_does_not_expire_those_that_were_frozen_with_it() -> None:
    """After a suspended hour the holder has time for its next beat."""
    sightings = Sightings(INTERVAL)
    sightings.expired(0.0, {"c": Beat(b"1", LEASE)})
    assert not sightings.expired(3600.0, {"c": Beat(b"1", LEASE)})
    assert not sightings.expired(3601.0, {"c": Beat(b"2", LEASE)})


@given(st.lists(st.tuples(st.floats(0.01, 10), st.booleans()), max_size=60))
def test_no_claim_expires_sooner_than_a_lease_after_its_last_change(
    looks: list[tuple[float, bool]],
) -> None:
    """However irregular the looks are."""
    sightings = Sightings(INTERVAL)
    now = changed = 0.0
    beat = 0
    sightings.expired(now, {"c": Beat(b"0", LEASE)})
    for pause, beats in looks:
        now += pause
        if beats:
            beat += 1
            changed = now
        over = sightings.expired(now, {"c": Beat(str(beat).encode(), LEASE)})
        assert not over or now - changed >= LEASE
