"""Whatever is killed, and whenever: every accepted experiment ends once, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, until
from tests.faults.wreck import AT_FIRST_FOR_EVER, MOMENTS, Moment, Wreck


@pytest.fixture
def wreck(tmp_path: Path) -> Iterator[Wreck]:
    """A machine of its own for every test."""
    with Wreck(tmp_path) as wreck:
        yield wreck


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_a_daemon_killed_at_any_moment_loses_nothing(wreck: Wreck, moment: Moment) -> None:
    """The next daemon finishes what it finds, runs what has to be run, and settles once."""
    daemon = wreck.ready()
    keys = [wreck.experiment()]
    end = time.monotonic() + PATIENCE
    while not moment(wreck, keys[-1]):
        assert time.monotonic() < end, wreck.log()
        if wreck.is_over(keys[-1]):  # we were not looking when it was
            keys.append(wreck.experiment())
    wreck.kill(daemon)
    daemon = wreck.ready()  # it may have nothing left to do, and would be told to end unprepared
    wreck.check(*keys)
    wreck.check_gone(daemon)


def test_a_daemon_killed_again_and_again_loses_nothing(wreck: Wreck) -> None:
    """Several experiments, and many kills at moments that nobody chose."""
    offsets = random.Random(20)  # noqa: S311 - the same ones every time
    keys = [wreck.experiment() for _ in range(8)]
    for _ in range(9):
        daemon = wreck.begin()
        time.sleep(offsets.uniform(0.2, 0.9))  # any moment will do, and none is waited for
        wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(*keys)
    wreck.check_gone(daemon)


def test_a_run_whose_supervisor_is_killed_is_tried_again(wreck: Wreck) -> None:
    """Its processes are gone before that, and the cause is the host's."""
    daemon = wreck.ready()
    key = wreck.experiment(AT_FIRST_FOR_EVER)
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    os.kill(wreck.pid_of("pid"), signal.SIGKILL)
    wreck.check(key)
    record = wreck.claim(key)
    assert record is not None
    assert (record["attempt"], record["previous_cause"]) == (2, "host-fault")
    wreck.check_gone(daemon)


def test_a_run_that_lost_daemon_and_supervisor_is_tried_again(wreck: Wreck) -> None:
    """The next daemon finds the experiment's processes, ends them, and starts anew."""
    daemon = wreck.ready()
    script = "os.fork() or (os.setsid(), time.sleep(1000))\n" + AT_FIRST_FOR_EVER
    key = wreck.experiment(script)
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    supervisor = wreck.pid_of("pid")
    wreck.kill(daemon)
    os.kill(supervisor, signal.SIGKILL)
    daemon = wreck.begin()
    wreck.check(key)
    record = wreck.claim(key)
    assert record is not None
    assert record["attempt"] == 2
    wreck.check_gone(daemon)


def test_a_daemon_killed_while_it_drains_loses_nothing(wreck: Wreck) -> None:
    """What it was waiting for is finished by the next one, in the same attempt."""
    daemon = wreck.ready()
    key = wreck.experiment("time.sleep(1)")
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in wreck.log() or None, "draining", wreck.log)
    wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(key)
    assert wreck.times(key) == ["ran"]
    assert wreck.outcome(key)["attempt"] == 1
    wreck.check_gone(daemon)


def test_a_daemon_killed_while_it_stops_loses_nothing(wreck: Wreck) -> None:
    """The run is ended all the same, and the next daemon gives it another attempt."""
    daemon = wreck.ready()
    key = wreck.experiment(AT_FIRST_FOR_EVER)
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in wreck.log() or None, "draining", wreck.log)
    daemon.send_signal(signal.SIGTERM)

    def is_stopping() -> bool | None:
        """It may be over before we have looked."""
        return any(one["stop"] for one in wreck.records()) or daemon.poll() is not None or None

    until(is_stopping, "stopping", wreck.log)
    wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(key)
    assert wreck.times(key) == ["ran", "ran"]
    wreck.check_gone(daemon)
