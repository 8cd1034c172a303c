"""Cancelled means that the daemon leaves: nothing is settled, and the next one sees it through."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from runner.errors import StoreUnavailable
from runner.model import Cause
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Line, Machine, Points, seen

pytestmark = pytest.mark.anyio

#: Tells outside how often it ran, and is still at it when the daemon leaves.
SCRIPT = """
import pathlib, time
with open({times!r}, 'a') as file:
    file.write('ran\\n')
pathlib.Path('../modeldir/weights').write_text('w')
print('begun', flush=True)
time.sleep({seconds})
print('done')
"""


def script(box: Box, seconds: float) -> str:
    """Return a script that takes a while."""
    return SCRIPT.format(times=str(box.root / "times"), seconds=seconds)


def ran(box: Box) -> int:
    """Count how often it was started."""
    times = box.root / "times"
    return len(times.read_text().splitlines()) if times.exists() else 0


def reap() -> None:
    """Collect what was killed: after a restart of the daemon that is for init to do."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


async def left_at(machine: Machine, message: Json, point: str) -> None:
    """Handle a message until a point is reached, and leave there."""
    handling, _ = await machine.handling(message)
    slot = await machine.parts.intake.slot()
    loop = anyio.lowlevel.current_token()
    with anyio.fail_after(PATIENCE), anyio.CancelScope() as scope:

        async def leave() -> None:
            """Cancel, whose loop ever this is, and go on if we are shielded."""
            del machine.points.acts[point]
            await anyio.to_thread.run_sync(
                lambda: anyio.from_thread.run_sync(scope.cancel, token=loop)
            )

        machine.points.acts[point] = leave
        await handling.perform(slot)
    assert scope.cancel_called


POINTS = [
    "stat claim",
    "put claim running",
    "put claim running done",
    "report accepted",
    "stat workspace",
    "read workspace",
    "build",
    "attach",
    "report started",
    "store output",
    "stored output",
    "store modeldir",
    "put claim ended",
    "put claim ended done",
    "ack",
    "ack done",
    "report ended",
]


@pytest.mark.parametrize("point", POINTS)
async def test_wherever_the_daemon_leaves_the_next_one_goes_on(tmp_path: Path, point: str) -> None:
    """The experiment ends once, is stored and acknowledged once, and nothing of it is left."""
    box, points = Box(tmp_path), Points()
    message = box.message(script(box, 0.0))
    key = message["experiment"]["key"]
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as first:
        await left_at(first, message, point)
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        await second.check_clean()
        queue.expire()
        while queue.waiting:
            await second.handle()
        await second.check_clean()
    assert queue.settlements.count("ack") == 1
    claim = box.claim(key)
    assert claim is not None
    assert (claim["state"], claim["outcome"]["cause"]) == ("ended", "completed")
    assert "done\n" in box.output(key)
    assert box.stored(key, "modeldir", "weights") == b"w"
    assert 1 <= ran(box) <= claim["attempt"]


async def test_a_daemon_killed_at_the_claim_has_left_enough(tmp_path: Path) -> None:
    """The record of a message that was not read yet: by it the next one finds the claim."""
    box, points = Box(tmp_path), Points()
    message = box.message(script(box, 0.0))
    key = message["experiment"]["key"]
    queue = Line("local_test", points)
    found: dict[Path, bytes] = {}

    async def look() -> None:
        del points.acts["put claim running done"]
        records = first.parts.records.directory.glob("*/record.json")
        found.update({file: file.read_bytes() for file in records})

    async with Machine.open(box, points=points, queue=queue) as first:
        points.acts["put claim running done"] = look
        await left_at(first, message, "report accepted")
    ((file, record),) = found.items()
    assert json.loads(record)["key"] == ""
    file.write_bytes(record)  # as it was when a killed daemon could do no more
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        assert {one.key for one in second.reports} == {key}
        await second.check_clean()
        queue.expire()
        while queue.waiting:
            await second.handle()
    claim = box.claim(key)
    assert claim is not None
    assert (claim["state"], claim["attempt"]) == ("ended", 2)
    assert ran(box) == 1


async def test_a_run_is_left_alone_and_adopted(tmp_path: Path) -> None:
    """It runs once, through the change of daemons, and its claim's beat goes on."""
    box, points = Box(tmp_path), Points()
    message = box.message(script(box, 1.0))
    key = message["experiment"]["key"]
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as first:
        handling, letter = await first.handling(message)
        slot = await first.parts.intake.slot()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: "begun" in box.live_output())
            group.cancel_scope.cancel()
        assert letter.settled == []
    async with Machine.open(box, points=points, queue=queue) as second:
        outcomes = await second.take_over()
        await second.check_clean()
    assert [outcome.cause.value for outcome in outcomes] == ["completed"]
    assert box.output(key) == "begun\ndone\n"
    assert ran(box) == 1
    assert queue.settlements == ["ack"]


@pytest.fixture
async def abandoned(tmp_path: Path) -> tuple[Box, Points, Line, Json]:
    """Leave a run that goes on for ever."""
    box, points = Box(tmp_path), Points()
    message = box.message(script(box, 1000.0))
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as first:
        handling, _ = await first.handling(message)
        slot = await first.parts.intake.slot()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: "begun" in box.live_output())
            group.cancel_scope.cancel()
    return box, points, queue, message


Abandoned = tuple[Box, Points, Line, Json]


async def test_a_store_that_is_away_at_the_start_costs_no_run(abandoned: Abandoned) -> None:
    """The adopted run goes on until the store says whose it is."""
    box, points, queue, _ = abandoned
    points.raises("stat claim", StoreUnavailable("away"))
    async with Machine.open(box, points=points, queue=queue) as second:
        (handling,) = await second.adopted()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.resume)
            await seen(lambda: handling.entry.stage == "running")
            assert second.ledger.free.cores == 1
            handling.entry.stopper.stop(Cause.CANCELLED)
        await second.check_clean()
        assert second.ends == ["cancelled"]
    assert queue.settlements == ["ack"]


async def test_what_was_taken_over_meanwhile_is_ended(abandoned: Abandoned) -> None:
    """No process of a run goes on behind a settled message, and nothing of it is stored."""
    box, points, queue, message = abandoned
    key = message["experiment"]["key"]
    record = box.storage / "experiments" / key / f"_claim.{key}.json"
    claim = json.loads(record.read_text())
    claim["owner"]["run"] = "another"
    record.write_text(json.dumps(claim))
    begin = len(points.passed)
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        reap()
        await second.check_clean()
        assert second.ends == ["lease-lost"]
    assert [word for word in points.passed[begin:] if word.startswith("store")] == []


async def test_a_workspace_that_is_gone_ends_the_run(abandoned: Abandoned) -> None:
    """It is retried elsewhere, and does not go on here in a deleted directory."""
    box, points, queue, _ = abandoned
    (box.state / "work" / "experiments").rename(box.root / "gone")
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        reap()
        await second.check_clean()
        assert second.ends == ["host-fault"]
    assert queue.settlements == ["release"]


async def test_a_message_that_came_back_without_a_claim_is_not_ours(tmp_path: Path) -> None:
    """With no record to say otherwise another runner may be at it: nothing is stored twice."""
    box, points = Box(tmp_path), Points()
    message = box.message(script(box, 1000.0))
    labels = message["experiment"]["artifacts"]
    for label in [label for label in labels if label not in {"workspace", "modeldir"}]:
        del labels[label]
    labels["modeldir"]["mutable"] = False
    (box.storage / labels["modeldir"]["key"]).parent.mkdir(parents=True)
    (box.storage / labels["modeldir"]["key"]).write_bytes(
        (box.storage / labels["workspace"]["key"]).read_bytes()
    )
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as first:
        handling, _ = await first.handling(message)
        slot = await first.parts.intake.slot()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: "begun" in box.live_output())
            group.cancel_scope.cancel()
    queue.expire()
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        reap()
        await second.check_clean()
        assert second.ends == ["lease-lost"]


async def killed_at(box: Box, queue: Line, point: str) -> None:
    """Have a daemon take what waits, and die when it has come so far."""
    async with Machine.open(box, points=queue.points, queue=queue) as machine:
        reached = machine.points.holds(point)
        handling, _ = await machine.handling()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, await machine.parts.intake.slot())
            await seen(reached.is_set)
            group.cancel_scope.cancel()
        del machine.points.acts[point]
        records = machine.parts.records
        for record in list(records.read_all()):
            records.write(record.but(is_left=False))


@pytest.mark.parametrize("point", ["put claim running", "read workspace"])
async def test_a_message_that_kills_daemons_is_buried_in_the_end(
    tmp_path: Path, point: str
) -> None:
    """A death is a host fault, and counts as one: the third is the last.

    Whoever waits for its end reads of it, also where nobody came to claim it.
    """
    box, points = Box(tmp_path), Points()
    message = box.message("print('never reached')")
    queue = Line("local_test", points)
    queue.send(message)
    for _ in range(3):
        await killed_at(box, queue, point)
        async with Machine.open(box, points=points, queue=queue) as next_one:
            await next_one.take_over()
            await next_one.check_clean()
    assert queue.settlements == ["release", "release", "bury"]
    assert [letter.delay for letter in queue.letters if letter.delay] == [
        timedelta(seconds=7),
        timedelta(seconds=14),
    ]
    claim = box.claim(message["experiment"]["key"])
    assert claim is not None
    assert (claim["state"], claim["buried"]) == ("ended", True)


async def test_what_no_claim_record_counts_is_buried_by_the_brokers_count(tmp_path: Path) -> None:
    """Its count is of all that ever befell the message, so it takes many."""
    box, points = Box(tmp_path), Points()
    message = box.message("print('never reached')")
    labels = message["experiment"]["artifacts"]
    message["experiment"]["artifacts"] = {"workspace": labels["workspace"]}
    queue = Line("local_test", points)
    queue.send(message)
    for _ in range(27):
        await (await queue.receive()).release(timedelta(0))
    for _ in range(3):
        await killed_at(box, queue, "read workspace")
        async with Machine.open(box, points=points, queue=queue) as next_one:
            await next_one.take_over()
            await next_one.check_clean()
    assert queue.settlements[27:] == ["release", "release", "bury"]


async def test_a_message_that_cannot_even_be_read_is_buried(tmp_path: Path) -> None:
    """Each daemon dies of it at its start, and none gets so far as to give it back."""
    box, points = Box(tmp_path), Points()
    queue = Line("local_test", points)
    queue.send(box.message("print('never reached')"))
    await killed_at(box, queue, "put claim running")
    for _ in range(3):
        async with Machine.open(box, points=points, queue=queue) as next_one:
            await next_one.adopted()  # and dead
    async with Machine.open(box, points=points, queue=queue) as last:
        await last.take_over()
        await last.check_clean()
        assert last.ends == ["host-fault"]
    assert queue.settlements == ["bury"]


async def test_what_others_died_of_is_not_begun(tmp_path: Path) -> None:
    """Machines that were lost with it, one after the other: their claims fell silent, and count."""
    box, points = Box(tmp_path), Points()
    message = box.message("print('never reached')")
    key = message["experiment"]["key"]
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as machine:
        await left_at(machine, message, "read workspace")
    file = box.storage / "experiments" / key / f"_claim.{key}.json"
    record = json.loads(file.read_text())
    record |= {"state": "released", "counted": 3, "previous_cause": "host-fault"}
    file.write_text(json.dumps(record))
    queue.expire()
    async with Machine.open(box, points=points, queue=queue) as machine:
        await machine.handle()
    assert queue.settlements == ["bury"]
    assert (box.claim(key) or {})["buried"] is True


async def test_a_burial_is_not_turned_into_an_acknowledgement(tmp_path: Path) -> None:
    """A daemon killed between record and broker leaves a decision, which the next one keeps."""
    box, points = Box(tmp_path), Points()
    message = box.message("print('x')")
    message["experiment"]["filename"] = "nowhere.py"
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as first:
        await left_at(first, message, "put claim ended done")
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        await second.check_clean()
        assert second.ends == ["bad-request"]
    assert queue.settlements == ["bury"]


async def test_an_explanation_is_given_once(tmp_path: Path) -> None:
    """A daemon that left while it stored had explained the failure already."""
    box, points = Box(tmp_path), Points()
    message = box.message("raise SystemExit(1)")
    queue = Line("local_test", points)
    async with Machine.open(box, points=points, queue=queue) as first:
        await left_at(first, message, "store output")
    async with Machine.open(box, points=points, queue=queue) as second:
        await second.take_over()
        await second.check_clean()
    assert box.output(message["experiment"]["key"]).count("studio-runner: exit") == 1


async def test_a_message_of_a_queue_that_is_served_no_more_is_finished(
    abandoned: Abandoned,
) -> None:
    """The run goes on under its record alone; the broker is left to whoever serves the queue."""
    box, points, _, _ = abandoned
    empty = Line("local_test", points)
    async with Machine.open(box, points=points, queue=empty) as second:
        (handling,) = await second.adopted()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.resume)
            await seen(lambda: handling.entry.stage == "running")
            handling.entry.stopper.stop(Cause.CANCELLED)
        await second.check_clean()
        assert second.ends == ["cancelled"]
    assert empty.settlements == []
