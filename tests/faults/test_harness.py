"""The harness that breaks things on purpose counts what it should, and the same seed is a plan."""

from __future__ import annotations

import random
import time
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.named import Named
from tests.faults.plan import BOTH, BROKER, DAEMON, STORE, SUPERVISOR, Plan
from tests.faults.soak import Soak
from tests.faults.toll import Toll
from tests.faults.wreck import MOMENTS, Wreck

BEGUN = "its script has begun"


def test_a_few_faults_cost_nothing(tmp_path: Path) -> None:
    """One of each kind, where it hurts most."""
    with Wreck(tmp_path) as wreck:
        scene = Named(wreck, random.Random(8))  # noqa: S311 - the same every time
        scene.inject([(BEGUN, DAEMON), (BEGUN, BOTH), (BEGUN, SUPERVISOR)])
    assert scene.toll.is_clean, scene.toll.lines()
    assert scene.toll.faults_injected == 3
    assert scene.toll.run_twice >= 2  # who loses its supervisor runs again
    assert scene.toll.longest_recovery > 0


@pytest.mark.timeout(300)
def test_three_daemons_that_are_killed_and_sent_to_sleep_lose_nothing(tmp_path: Path) -> None:
    """A small share of ``make faults-long``, which takes servers and hours."""
    with Wreck(tmp_path) as wreck:
        scene = Soak(wreck, Plan(seed=8, hosts=3, lease=3.0))
        scene.run(8, time.monotonic() + 25)
    assert scene.toll.is_clean, scene.toll.lines()
    assert scene.toll.faults_injected > 0
    assert scene.toll.completed > 0


def test_what_is_there_too_long_is_named(tmp_path: Path) -> None:
    """A harness that could not see what is left would prove nothing."""
    with Wreck(tmp_path) as wreck:
        wreck.kinds["key"] = "ok"
        (wreck.state / "runs" / "abc").mkdir(parents=True)
        (wreck.queues / "local_test" / "forgotten").touch()
        place = wreck.storage / "experiments" / "key"
        place.mkdir(parents=True)
        (place / "output.tar.part").touch()
        found = " ".join(wreck.left())
    assert "runs/abc" in found
    assert "forgotten" in found
    assert "output.tar.part" in found


@pytest.mark.parametrize(
    ("outcome", "times", "said"),
    [
        ("signal", ["ran"], "it ended with"),
        ("completed", [], "0 runs in 1 attempts"),
        ("completed", ["ran", "ran"], "2 runs in 1 attempts"),
        ("completed", ["ran"], "its output is"),
    ],
)
def test_an_experiment_that_is_not_whole_is_lost(
    tmp_path: Path, outcome: str, times: list[str], said: str
) -> None:
    """A wrong end, too many attempts, results that are missing: each is seen."""
    with Wreck(tmp_path) as wreck:
        wreck.kinds["key"] = "ok"
        assert "it has not ended" in wreck.fault("key")
        place = wreck.storage / "experiments" / "key"
        place.mkdir(parents=True)
        (place / "_claim.key.json").write_text(
            '{"state": "ended", "attempt": 1, "owner": {"run": "abc"}, '
            f'"outcome": {{"cause": "{outcome}", "exit_code": 0}}}}'
        )
        (tmp_path / "times.key").write_text("".join(f"{line}\n" for line in times))
        assert said in wreck.fault("key")


def test_a_seed_is_a_plan() -> None:
    """The same one gives the same experiments and faults, another one others."""
    plan, same, other = Plan(8, 3, 4.0), Plan(8, 3, 4.0), Plan(9, 3, 4.0)
    assert plan.lines(50) == same.lines(50) != other.lines(50)
    faults = list(islice(plan.faults(), 500))
    assert {fault.host for fault in faults} == {0, 1, 2}
    assert {DAEMON, SUPERVISOR, BOTH, BROKER, STORE} <= {fault.act for fault in faults}


def test_every_moment_has_a_name() -> None:
    """From the message that is held to the record that is removed."""
    assert len(MOMENTS) == 11


@pytest.mark.parametrize(
    "toll",
    [
        Toll(experiments_accepted=1),
        Toll(experiments_accepted=1, completed=1, lost=1),
        Toll(leftovers=1),
        Toll(troubles=["a traceback"]),
    ],
    ids=["not ended", "lost", "leftover", "trouble"],
)
def test_whatever_is_wrong_is_told(toll: Toll) -> None:
    """A table of zeros is no proof unless anything else would have been seen."""
    assert not toll.is_clean
    assert "| experiments accepted |" in "\n".join(toll.lines())
    assert all(f"- {one}" in toll.lines() for one in toll.troubles)
