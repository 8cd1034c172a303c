"""The harness that breaks things on purpose counts what it should."""

from __future__ import annotations

import random

import pytest

from tests.faults.harness import BOTH, DAEMON, SUPERVISOR, Harness
from tests.faults.toll import Toll

BEGUN = "its script has begun"


def test_a_few_faults_cost_nothing() -> None:
    """One of each kind, where it hurts most, and one at any time."""
    harness = Harness(random.Random(8))  # noqa: S311 - the same every time
    harness.named([(BEGUN, DAEMON), (BEGUN, BOTH), (BEGUN, SUPERVISOR)])
    assert harness.at_random(1, float("inf")) == 1
    assert harness.toll.is_clean, harness.toll.lines()
    assert harness.toll.faults_injected == 4
    assert harness.toll.run_twice >= 2  # who loses its supervisor runs again
    assert harness.toll.longest_recovery > 0


@pytest.mark.parametrize(
    "toll",
    [
        Toll(experiments_accepted=1),
        Toll(experiments_accepted=1, completed=1, lost=1),
        Toll(leftovers=1),
        Toll(troubles=["a traceback"]),
    ],
)
def test_whatever_is_wrong_is_told(toll: Toll) -> None:
    """A table of zeros is no proof unless anything else would have been seen."""
    assert not toll.is_clean
    assert "| experiments accepted |" in "\n".join(toll.lines())
    assert all(f"- {one}" in toll.lines() for one in toll.troubles)
