"""What comes back by itself, and how little has to be looked at for it."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from runner.queues.local import beats, claims
from runner.queues.local.beats import Holder
from runner.queues.local.places import Places
from runner.queues.local.sweep import Sweep

LEASE = timedelta(seconds=0.2)
PATIENCE = 60.0
THEM, US = Holder("them", LEASE), Holder("us", LEASE)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A queue of which somebody else holds one message."""
    places = Places.of(tmp_path, "local_a")
    places.messages.mkdir()
    places.prepare()
    (places.messages / "m").write_bytes(b"{}")
    return places


def test_a_dead_holders_claim_comes_back_by_glances_alone(places: Places, tmp_path: Path) -> None:
    """A look at all queues finds the claim; after that its beats tell that its holder is dead."""
    sweep = Sweep(tmp_path, US, LEASE.total_seconds())
    assert claims.take(places, "m", THEM)
    sweep.run()
    assert sweep.sees_claims
    end = time.monotonic() + PATIENCE
    while not (places.messages / "m").exists():
        assert time.monotonic() < end, "the claim did not come back"
        sweep.glance()
        time.sleep(0.01)


def test_a_holder_that_beats_keeps_its_claim(places: Places, tmp_path: Path) -> None:
    """However often one glances; and who settles it is not taken for dead."""
    sweep = Sweep(tmp_path, US, LEASE.total_seconds())
    claim = claims.take(places, "m", THEM)
    assert claim is not None
    sweep.run()
    end = time.monotonic() + 3 * LEASE.total_seconds()
    while time.monotonic() < end:
        beats.write(places, claim.token, THEM)
        sweep.glance()
    assert not (places.messages / "m").exists()
    claims.forget(claim)
    sweep.glance()
    sweep.run()
    assert not sweep.sees_claims
