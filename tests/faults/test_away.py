"""Hosts that sleep for longer than a lease, clocks that jump, drains that take long."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import until
from tests.faults.hosts import Host
from tests.faults.plan import SLEEP, SUSPEND, Fault
from tests.faults.wreck import LEASE, Wreck
from tests.servers.clock import Clock

HOUR = 3600
#: Ends when the test says so; tells outside when it was told.
UNTIL_TOLD = "go = pathlib.Path({go!r})\nwhile not go.exists():\n    time.sleep(0.01)"


@pytest.fixture
def wreck(tmp_path: Path) -> Iterator[Wreck]:
    """A machine of its own for every test."""
    with Wreck(tmp_path) as wreck:
        yield wreck


def begun(wreck: Wreck) -> str:
    """Have an experiment run that ends when the file ``go`` is there."""
    key = wreck.experiment(UNTIL_TOLD.format(go=str(wreck.root / "go")))
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    return key


def beats(wreck: Wreck, key: str, more: int) -> None:
    """Wait until the claim was renewed so often."""
    first = (wreck.claim(key) or {})["beat"]
    until(lambda: (wreck.claim(key) or {})["beat"] >= first + more or None, "beats", wreck.log)


def test_the_lease_is_kept_while_the_daemon_drains(wreck: Wreck) -> None:
    """For several leases nobody else takes what a draining daemon waits for."""
    first = wreck.ready()
    key = begun(wreck)
    first.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in wreck.log() or None, "draining", wreck.log)
    second = wreck.ready(state="state-1")
    beats(wreck, key, 12)  # three in a lease, at the least
    (wreck.root / "go").touch()
    assert first.wait(60) == 0
    wreck.check(key)
    assert wreck.times(key) == ["ran"]
    assert wreck.outcome(key)["attempt"] == 1
    wreck.check_gone(second)


@pytest.mark.service("nvml")
def test_a_clock_that_jumps_costs_nothing(wreck: Wreck, tmp_path: Path) -> None:
    """An hour to and fro: no lease is lost, no limit reached, and the run is told once."""
    clock = Clock(tmp_path)
    daemon = wreck.start(*LEASE, variables=clock.variables)
    key = begun(wreck)
    for seconds in (HOUR, -HOUR, 0):
        clock.move(seconds)
        beats(wreck, key, 4)
    dates = [json.loads(line)["time"] for line in wreck.log().splitlines() if line[0] == "{"]
    clock.move(HOUR)
    other = wreck.experiment()  # and what comes then is handled as ever
    assert wreck.outcome(other)["cause"] == "completed"
    (wreck.root / "go").touch()
    wreck.check(key, other)
    assert wreck.times(key) == ["ran"]
    assert wreck.outcome(key)["attempt"] == 1
    assert wreck.outcome(other)["attempt"] == 1
    later = [json.loads(line)["time"] for line in wreck.log().splitlines() if line[0] == "{"]
    assert max(later) > max(dates)
    wreck.check_gone(daemon)


def test_a_daemon_that_was_stopped_for_longer_than_a_lease_goes_on(wreck: Wreck) -> None:
    """Nobody else was there: it finds its claim as it left it, and the run ends in it."""
    host = Host(wreck, "state", LEASE)
    host.tend(0.0)
    assert host.daemon is not None
    wreck.serves("state", 0)
    key = begun(wreck)
    assert host.hit(Fault(0, SUSPEND, 0, 0), 0)
    time.sleep(5)  # longer than a lease: nothing can be awaited, for nobody does anything
    host.wake()
    beats(wreck, key, 2)
    (wreck.root / "go").touch()
    wreck.check(key)
    assert wreck.times(key) == ["ran"]
    wreck.check_gone(host.daemon)


def test_a_host_that_wakes_after_another_took_over_stores_nothing(wreck: Wreck) -> None:
    """Daemon and run slept, as laptops do: the other's results stand, and the run is ended."""
    host = Host(wreck, "state", LEASE)
    host.tend(0.0)
    assert host.daemon is not None
    wreck.serves("state", 0)
    key = begun(wreck)
    assert host.hit(Fault(0, SLEEP, 0, 0), 0)
    other = wreck.ready(state="state-1")
    until(lambda: (wreck.claim(key) or {})["attempt"] == 2 or None, "another owner")
    until(lambda: wreck.times(key).count("ran") == 2 or None, "its run")
    host.wake()
    until(lambda: not wreck.records("state") or None, "the first run ended", wreck.log)
    (wreck.root / "go").touch()
    assert wreck.outcome(key)["attempt"] == 2
    assert wreck.outcome(key)["cause"] == "completed"
    lines = wreck.output(key).splitlines()
    assert lines.count("last line") == 1, lines
    nonce = next(line.split()[1] for line in lines if line.startswith("nonce "))
    assert wreck.stored(key, "modeldir", "nonce").decode() == nonce
    assert wreck.drain(host.daemon) == 0
    wreck.check_gone(other)
