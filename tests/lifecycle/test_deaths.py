"""Who is blamed when a daemon dies: one message, and in the end the right one."""

from __future__ import annotations

from runner.lifecycle.deaths import with_blame
from runner.lifecycle.runs.record import Phase, Record
from runner.model import Allocation, Bytes, Message


def record(name: str, claimed_at: float = 0.0, **changes: object) -> Record:
    """Return a message that is made ready."""
    made = Record(
        run=name,
        message=Message(name, b"{}", "local_one"),
        broker="local",
        project="p",
        token="t",
        key=name,
        experiment_project="",
        attempt=1,
        allocation=Allocation(1, Bytes(0), Bytes(0)),
        claimed_at=claimed_at,
    )
    return made.but(**changes)


def blamed(*records: Record) -> list[str]:
    """Return who is blamed."""
    after = with_blame(records)
    return [new.run for old, new in zip(records, after, strict=True) if new.deaths > old.deaths]


def test_only_what_was_made_ready_is_blamed() -> None:
    """A run goes on without its daemon; and who leaves in order has not died."""
    assert blamed() == []
    running = record("a", phase=Phase.RUNNING)
    finishing = record("b", phase=Phase.FINISHING)
    assert blamed(running, finishing, record("c", is_left=True)) == []
    assert blamed(running, record("c"), finishing) == ["c"]


def test_one_of_several_is_blamed() -> None:
    """Who was there most often; else who came last, for the others had lived with each other."""
    assert blamed(record("a", 1.0), record("b", 2.0)) == ["b"]
    assert blamed(record("a", 1.0, counted=1), record("b", 2.0)) == ["a"]
    assert blamed(record("a", 1.0, deaths=2), record("b", 2.0, counted=1)) == ["a"]


def test_an_innocent_experiment_survives_a_deadly_one() -> None:
    """They come together; the blamed one comes back later and later; only the deadly is buried.

    A deadly message kills as soon as it is made ready; the innocent one needs 40 s for that.
    """
    most, base, needs = 3, 30.0, 40.0
    counted = {"innocent": 0, "deadly": 0}
    back = {"innocent": 1.0, "deadly": 0.0}  # when each is received next
    now = 0.0
    while counted["deadly"] < most:
        now = max(now, back["deadly"])
        begun = back["innocent"]
        if begun + needs <= now:
            return  # it runs: nothing of the daemon's can harm it any more
        there = [record("deadly", now, counted=counted["deadly"])]
        if begun <= now + 1:
            there.append(record("innocent", begun, counted=counted["innocent"]))
        (guilty,) = blamed(*there)
        counted[guilty] += 1
        assert counted["innocent"] < most
        for one in there:
            back[one.run] = now + 1
        back[guilty] = now + 1 + base * 2 ** (counted[guilty] - 1)
