"""Reload, detach, drain and stop on every broker: what runs, and what is only in hand."""

from __future__ import annotations

import json
import signal

import pytest

from tests.acceptance.accounts import slowly_on_every_broker
from tests.acceptance.box import PATIENCE
from tests.acceptance.pair import WHO, Pair

pytestmark = slowly_on_every_broker

BIG = {"cpus": 2, "gpus": 0, "ram": "256m", "hdd": "64m"}


class Busy:
    """A daemon with an experiment that runs, and a message in hand that waits for its room."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.box = pair.box
        pair.start("state", "--max-cores", "2")
        self.running = pair.send(WHO)
        pair.begun("state")
        self.waiting = pair.send("print('its turn')", resources_needed=BIG)
        pair.until(lambda: self.phases().get(self.waiting), "a message in hand")
        pair.until(lambda: self.phases()[self.running] == "running" or None, "a run")

    def phases(self) -> dict[str, str]:
        """Return the phases on the disk, by key."""
        found = {}
        for file in (self.box.state / "runs").glob("*/record.json"):
            try:
                record = json.loads(file.read_text())
            except FileNotFoundError:  # settled in this moment
                continue
            found[record["key"]] = record["phase"]
        return found

    def visible(self) -> list[str]:
        """Return the keys of what a plain client of the broker can receive."""
        return sorted(self.key_of(seen.body) for seen in self.pair.account.look())

    @staticmethod
    def key_of(body: str) -> str:
        """Return the key of a message."""
        return str(json.loads(body)["experiment"]["key"])

    def signals(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        self.pair.daemons["state"].send_signal(number)

    def has_ended(self) -> None:
        """See that the daemon ends in order."""
        assert self.pair.daemons["state"].wait(PATIENCE) == 0

    def ends_well(self, *attempts: int) -> None:
        """Have both experiments end, in their first or later attempts, and see nothing left."""
        self.pair.go()
        for key, attempt in zip((self.running, self.waiting), attempts, strict=True):
            outcome = self.box.outcome(key)
            assert (outcome["cause"], outcome["attempt"]) == ("completed", attempt)
            record = self.box.claim(key)
            assert record is not None
            assert record["counted"] == 0
        self.pair.check_published(self.running, "state")
        self.pair.check_clean()


@pytest.fixture
def busy(pair: Pair) -> Busy:
    """Return a busy daemon."""
    return Busy(pair)


def test_a_reload_goes_on_with_everything(busy: Busy) -> None:
    """The same process: the run was not interrupted, and what was in hand is run after it."""
    daemon = busy.pair.daemons["state"]
    busy.signals(signal.SIGHUP)
    busy.pair.sees("state", '"adopted"', 2)
    assert daemon.poll() is None
    busy.ends_well(1, 1)
    assert [one for one in busy.pair.endings() if one[0] == "completed"] == [
        ("completed", "acked"),
        ("completed", "acked"),
    ]


def test_a_detach_leaves_everything_held(busy: Busy) -> None:
    """The run goes on without a daemon, and neither message is seen by anybody before the next."""
    busy.signals(signal.SIGUSR1)
    busy.has_ended()
    assert busy.visible() == []
    assert sorted(busy.phases().values()) == ["preparing", "running"]
    busy.pair.start("state", "--max-cores", "2")
    busy.ends_well(1, 1)


def test_a_drain_finishes_what_runs_and_gives_back_what_waits(busy: Busy) -> None:
    """At once, while the run goes on: whoever else there is gets it; nothing more is taken."""
    busy.signals(signal.SIGTERM)
    busy.pair.until(lambda: busy.visible() == [busy.waiting] or None, "the message given back")
    (seen,) = busy.pair.account.look()
    assert seen.was_held in {True, None}
    busy.pair.until(lambda: busy.phases() == {busy.running: "running"} or None, "what goes on")
    late = busy.pair.send("print('late')")
    busy.pair.go()
    assert busy.box.outcome(busy.running)["attempt"] == 1
    busy.has_ended()
    expected = sorted([busy.waiting, late])
    busy.pair.until(lambda: busy.visible() == expected or None, "both messages")
    busy.pair.start("state", "--max-cores", "2")
    assert busy.box.outcome(late)["attempt"] == 1
    busy.ends_well(1, 1)


def test_a_stop_ends_what_runs_and_gives_everything_back(busy: Busy) -> None:
    """Uncounted, with what it made so far stored, and seen by others without any delay."""
    busy.signals(signal.SIGTERM)
    busy.pair.sees("state", '"draining"')
    busy.signals(signal.SIGTERM)
    busy.has_ended()
    expected = sorted([busy.running, busy.waiting])
    busy.pair.until(lambda: busy.visible() == expected or None, "both messages")
    record = busy.box.claim(busy.running)
    assert record is not None
    told = (record["state"], record["counted"], record["previous_cause"])
    assert told == ("released", 0, "drained")
    assert "begun" in busy.box.output(busy.running)
    busy.pair.start("state", "--max-cores", "2")
    busy.ends_well(2, 1)


def test_another_daemon_goes_on_with_what_a_stop_gave_back(busy: Busy) -> None:
    """It need not wait for any lease: both messages and the claim are free."""
    busy.signals(signal.SIGTERM)
    busy.pair.sees("state", '"draining"')
    busy.signals(signal.SIGTERM)
    busy.pair.start("other", "--max-cores", "2")
    busy.has_ended()
    busy.pair.go()
    assert busy.box.outcome(busy.running)["attempt"] == 2
    busy.box.outcome(busy.waiting)
    busy.pair.check_published(busy.running, "other")
    busy.pair.check_clean()
