"""One message at two real daemons: one of them runs and publishes, whoever sleeps meanwhile."""

from __future__ import annotations

import pytest

from tests.acceptance.accounts import slowly_on_every_broker
from tests.acceptance.pair import Pair

#: RabbitMQ believes in a daemon that sleeps for two heartbeats of 20 s; leases come after that.
pytestmark = [slowly_on_every_broker, pytest.mark.timeout(300)]


def test_what_was_sent_twice_runs_once(pair: Pair) -> None:
    """Both daemons hold a copy, both leases are valid: one runs it, the other puts its copy off.

    Where copies cannot be told apart, it keeps it for the one that runs instead. In the end there
    is one outcome, its results are whole, and no copy is left.
    """
    pair.start("state")
    pair.start("other")
    key = pair.send(times=2)
    runner = pair.begun("state", "other")
    other = "other" if runner == "state" else "state"
    pair.sees(other, f"{key} ended: not-ours", or_else="kept for who works on it")
    assert ("completed", "acked") not in pair.endings()
    pair.go()
    assert pair.box.outcome(key)["attempt"] == 1
    pair.until(lambda: ("completed", "acked") in pair.endings() or None, "acked")
    pair.until(lambda: ("not-ours", "acked") in pair.endings() or pair.kept(other), "the copy")
    endings = pair.endings()
    assert endings.count(("completed", "acked")) == 1
    put_off = {("not-ours", "released"), ("not-ours", "acked")}
    assert set(endings) <= {("completed", "acked"), *put_off}
    pair.check_published(key, runner)
    pair.check_clean()


def test_who_sleeps_past_his_lease_publishes_nothing(pair: Pair) -> None:
    """His message comes back, another takes over, runs and publishes; then he wakes up.

    His own run has ended meanwhile, and its results are ready to be stored: they are not.
    """
    pair.start("state")
    key = pair.send()
    pair.begun("state")
    pair.until(lambda: (pair.box.claim(key) or {}).get("state"), "the claim")
    with pair.suspended("state"):
        pair.start("other")
        pair.begun("other")
        pair.go()
        assert pair.box.outcome(key)["attempt"] == 2
        pair.until(lambda: pair.endings("other")[-1:] == [("completed", "acked")] or None, "acked")
        pair.check_published(key, "other")
    pair.until(lambda: pair.endings("state") or None, "his end")
    assert pair.endings("state")[0][0] == "lease-lost"
    pair.check_published(key, "other")
    pair.check_clean()


def test_who_wakes_up_beside_another_run_ends_his_own(pair: Pair) -> None:
    """His run is ended without a trace, and the other one goes on and publishes."""
    pair.start("state")
    key = pair.send()
    pair.begun("state")
    with pair.suspended("state"):
        pair.start("other")
        pair.begun("other")
    pair.until(lambda: pair.endings("state") or None, "his end")
    assert pair.endings("state")[0][0] == "lease-lost"
    assert pair.endings("other")[-1:] != [("completed", "acked")]
    pair.go()
    assert pair.box.outcome(key)["attempt"] == 2
    pair.until(lambda: pair.endings("other")[-1:] == [("completed", "acked")] or None, "acked")
    pair.check_published(key, "other")
    pair.check_clean()


def test_a_message_that_comes_back_meets_its_run(pair: Pair, broker: str) -> None:
    """The daemon that runs it gets it again: it holds that from now on, and runs nothing twice."""
    pair.start("state", "--max-cores", "2")
    key = pair.send()
    pair.begun("state")
    pair.until(lambda: pair.phases("state") == ["running"] or None, "its record")
    pair.account.take_back(lambda: pair.suspended("state"))
    if broker == "rabbitmq":  # where the run itself may find its copy, and nothing is said
        pair.sees("state", "CONNECTION_FORCED")
    else:
        pair.sees("state", "its message came back to its run")
    pair.go()
    assert pair.box.outcome(key)["attempt"] == 1
    pair.until(lambda: ("completed", "acked") in pair.endings() or pair.kept("state"), "its end")
    assert pair.endings().count(("completed", "acked")) <= 1
    pair.check_published(key, "state")
    pair.check_clean()
