"""``status KEY``: how an experiment stands, as its store tells it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from runner.cli.daemon import HISTORY
from runner.cli.standing import sentence
from runner.client.standing import of
from runner.lifecycle.history import Ending
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State
from tests.cli.conftest import Desk

CLAIM = ClaimRecord("k1", Owner("gpu-1", "daemon", "run"), attempt=2, submitted=5.0, updated_at=9.0)
ENDED = replace(CLAIM, state=State.ENDED, outcome=RecordedOutcome("exit", 3, "it exited with 3"))


@pytest.mark.parametrize(
    ("status", "claim", "state", "says"),
    [
        ("waiting", None, "waiting", "waiting for a runner, submitted "),
        ("stopped", None, "stopped", "to be stopped"),
        ("running", CLAIM, "running", "running, attempt 2 on gpu-1, last heard of "),
        ("stopped", CLAIM, "stopped", "to be stopped; attempt 2 on gpu-1"),
        (
            "running",
            replace(CLAIM, state=State.RELEASED, previous_cause="host-fault"),
            "released",
            "waiting for the next attempt; attempt 2 on gpu-1, host-fault",
        ),
        ("finished", ENDED, "ended", "ended (exit, exit code 3), attempt 2 on gpu-1: it exited"),
        ("stopped", ENDED, "ended", "ended (exit"),
        ("waiting", replace(ENDED, buried=True), "ended", "among the dead letters"),
        ("waiting", replace(ENDED, submitted=4.0), "waiting", "waiting for a runner"),
        ("waiting", replace(ENDED, submitted=None), "ended", "ended (exit"),
    ],
)
def test_the_store_tells_how_it_stands(
    status: str, claim: ClaimRecord | None, state: str, says: str
) -> None:
    """The claim counts before the client's record, but for a wish to stop that is not done yet.

    A claim of an earlier submission of the same key says nothing.
    """
    found = of("k1", {"status": status, "time_added": 5.0}, claim)
    assert found.state == state
    assert says in sentence(found)
    assert found.submitted == 5.0


def test_a_claim_alone_is_enough() -> None:
    """Where nobody keeps the client's record, the runners' own word is shown."""
    found = of("k1", {}, CLAIM)
    assert (found.state, found.attempt, found.host, found.submitted) == ("running", 2, "gpu-1", 5.0)


def test_status_of_a_key_asks_the_store(desk: Desk) -> None:
    """One sentence, or JSON; without a daemon; a key that nobody knows is an error."""
    assert desk.run("submit", "--key", "k1", "train.py")[0] == 0
    status, out, _ = desk.run("status", "k1")
    assert status == 0
    assert out.startswith("k1: waiting for a runner, submitted ")
    [message] = desk.messages()
    place = desk.store / "storage/experiments/k1"
    place.mkdir(parents=True)
    outcome = RecordedOutcome("exit", 3, "password=topsecret\n")
    claim = replace(ENDED, submitted=message["experiment"]["time_added"], outcome=outcome)
    (place / "_claim.k1.json").write_bytes(claim.encode())
    out = desk.run("status", "k1")[1]
    assert "k1: ended (exit, exit code 3), attempt 2 on gpu-1: password=***" in out
    assert out.count("\n") == 2
    assert "Read the end of the output" in out
    facts = json.loads(desk.run("status", "--json", "k1")[1])
    assert (facts["state"], facts["cause"], facts["exit_code"]) == ("ended", "exit", 3)
    status, _, err = desk.run("status", "k2", "--store", str(desk.store))
    assert (status, f"is not known in {desk.store}: no runner has begun it yet" in err) == (1, True)
    status, _, err = desk.run("cancel", "k2", "--store", str(desk.store))
    assert (status, f"is not known in {desk.store}: no runner has begun it yet" in err) == (1, True)
    status, _, err = desk.run("status", "k2")
    assert status == 1
    assert err == (
        "studio-runner: the experiment 'k2' is not known here: name its store with --store\n"
    )


def test_status_of_a_key_asks_this_machine_as_well(desk: Desk) -> None:
    """What is refused before it is claimed leaves no record in its store."""
    end = Ending("big", "q", "", 2, "too-big", None, "it needs 64 cores", "released", 5.0, 0.1)
    state = desk.root / "state"
    state.mkdir(exist_ok=True)
    (state / HISTORY).write_text(f"{json.dumps(asdict(end))}\n")
    status, out, _ = desk.run("status", "big")
    assert status == 0
    said = (
        "big: waiting for the next attempt; attempt 2 on this machine, too-big: it needs 64 cores"
    )
    assert out.startswith(said)
    (state / HISTORY).write_text(f"{json.dumps(asdict(replace(end, settled='acked')))}\n")
    assert desk.run("status", "big")[1].startswith(
        "big: ended (too-big), attempt 2 on this machine"
    )
