"""Why an experiment waits: what the daemon here, its history and the fleet can say of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.cli.waiting import Reasons, in_fleet, in_status
from runner.client.results import given_back
from runner.fleet.beat import Beat, Standing
from runner.fleet.reading import Fleet, Seen
from runner.lifecycle.history import Ending, History
from runner.queues.addresses import parse

_TOO_BIG = Ending(
    "k1",
    "local_q",
    "",
    1,
    "too-big",
    None,
    "it needs 4 GPUs.",
    "released",
    ended=100.0,
    seconds=0.1,
    advice="Ask for less.",
)
_ROW = {"name": "local_q", "broker": "local", "account": "/queues", "why": "the machine is full"}
_LEFT = {"name": "local_q", "broker": "local", "why": "--queue-match does not take it"}


@pytest.mark.parametrize(
    ("submitted", "says"),
    [
        (99.0, "gave it back, too-big: it needs 4 GPUs. Ask for less"),
        (101.0, ""),
        (None, "too-big"),
    ],
)
def test_what_was_given_back_is_told_with_its_reason(submitted: float | None, says: str) -> None:
    """Of this submission alone."""
    why = given_back([_TOO_BIG], "k1", submitted)
    assert says in why
    assert bool(says) == bool(why)


@pytest.mark.parametrize(
    ("daemon", "waited", "says"),
    [
        ({"queues": [_ROW]}, 1, "takes nothing now: the machine is full"),
        ({"queues": [{**_ROW, "why": ""}]}, 9, ""),
        ({"queues": [{**_ROW, "account": "/others"}]}, 1, ""),
        ({"queues": [{**_ROW, "account": "/others"}]}, 9, "other directories than /queues/loc"),
        ({"queues": [{**_ROW, "broker": "sqs"}]}, 9, "other directories"),
        ({"passed_over": [_LEFT]}, 1, "leaves local_q alone: --queue-match does not take it"),
        ({}, 9, "other directories"),
    ],
)
def test_the_daemon_says_why_it_takes_nothing(
    daemon: dict[str, Any], waited: int, says: str
) -> None:
    """Of a new queue it need not know yet."""
    why = in_status(daemon, "local_q", Path("/queues"), is_new=waited < 5)
    assert says in why
    assert bool(says) == bool(why)


def _seen(cards: int, state: str = Standing.TAKING, age: float = 1.0) -> Seen:
    beat = Beat(
        host="h",
        owner="o",
        state=state,
        gpus_total=cards,
        since=1.0,
        started=1.0,
        written=1.0,
        interval=60.0,
    )
    return Seen("n", age, beat)


@pytest.mark.parametrize(
    ("runners", "says"),
    [
        ([_seen(2), _seen(4)], ""),
        ([_seen(2), _seen(3)], "it asks for 4 GPUs, and no runner of the fleet has more than 3"),
        ([_seen(8, age=1e4), _seen(8, Standing.ENDED)], "no runner of the fleet is up"),
        ([_seen(8, Standing.SUSPENDED)], "takes experiments now"),
        ([], "is up"),
    ],
)
def test_the_fleet_says_why_nobody_takes_it(runners: list[Seen], says: str) -> None:
    """Who is late or has ended has no cards."""
    why = in_fleet(Fleet(tuple(runners), ()), 4)
    assert says in why
    assert bool(says) == bool(why)


def test_a_reason_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First that no daemon is there; then what one that was there left behind."""
    address = parse("local_q", option="queue")
    reasons = Reasons(tmp_path / "control.sock", "k1", 99.0, address, tmp_path)
    anyio.run(reasons.tell)
    anyio.run(reasons.tell)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("k1: still waiting: no daemon listens on")
    History(tmp_path / "recent.jsonl").add(_TOO_BIG)
    anyio.run(reasons.tell)
    assert "it needs 4 GPUs. Ask for less" in capsys.readouterr().err


def test_who_knows_nothing_says_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, where runners of other machines may take it."""
    address = parse("sqs://eu-central-1/sqs_q", option="queue")
    reasons = Reasons(tmp_path / "control.sock", "k1", None, address, tmp_path)
    anyio.run(reasons.tell)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("runner.cli.waiting._LONG", 0.0)
    anyio.run(reasons.tell)
    anyio.run(reasons.tell)
    [line] = capsys.readouterr().err.splitlines()
    assert "`studio-runner status`" in line
    assert "`studio-runner doctor`" in line
