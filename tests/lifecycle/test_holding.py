"""What becomes of a run whose message cannot be held, or cannot be held for long enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import HostFault, LeaseLost, MessageGone, OutOfDisk, QueueGone
from runner.model import News
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Machine, seen

pytestmark = pytest.mark.anyio

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""
#: So short that it is renewed at once.
SHORT = timedelta(seconds=0.1)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


def unclaimed(machine: Machine, message: Json) -> Json:
    """Leave no place where a claim record could be written."""
    labels = message["experiment"]["artifacts"]
    for label in [label for label in labels if label not in {"workspace", "modeldir"}]:
        del labels[label]
    labels["modeldir"]["mutable"] = False
    place = machine.box.storage / labels["modeldir"]["key"]
    place.parent.mkdir(parents=True)
    place.write_bytes((machine.box.storage / labels["workspace"]["key"]).read_bytes())
    return message


@pytest.mark.parametrize("has_record", [True, False])
async def test_a_message_that_is_gone_stops_no_run(
    machine: Machine,
    has_record: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    """Nobody else can have it: the run finishes and uploads, claimed or not."""
    message = machine.box.message(GO.format(go=str(machine.box.root / "go")))
    machine.queue.lease = SHORT
    tried: list[str] = []

    async def gone() -> None:
        tried.append("extend")
        raise MessageGone

    async def no_message() -> None:
        raise MessageGone

    machine.points.acts["extend"] = gone
    machine.points.acts["ack"] = no_message
    handling, letter = await machine.handling(
        message if has_record else unclaimed(machine, message)
    )
    slot = await machine.parts.intake.slot()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: tried and "begun" in machine.box.live_output())
            (machine.box.root / "go").touch()
    assert machine.ends == ["completed"]
    assert letter.settled == []
    await machine.check_clean()


@pytest.mark.parametrize(("has_record", "end"), [(True, "completed"), (False, "lease-lost")])
async def test_a_lease_that_is_lost_ends_only_what_has_no_record(
    machine: Machine,
    has_record: bool,  # noqa: FBT001 - pytest gives it by name
    end: str,
) -> None:
    """Past the broker's ceiling a run goes on under its claim record; without one it ends."""
    message = machine.box.message(GO.format(go=str(machine.box.root / "go")))
    machine.queue.lease = SHORT
    handling, letter = await machine.handling(
        message if has_record else unclaimed(machine, message)
    )
    slot = await machine.parts.intake.slot()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: "begun" in machine.box.live_output())
            machine.points.raises("extend", *[LeaseLost("12 h are over")] * 9)
            letter.is_lost = True
            await seen(lambda: machine.points.passed.count("report started"))
            if has_record:  # else it is ended
                await anyio.sleep(3 * SHORT.total_seconds())
                (machine.box.root / "go").touch()
    assert machine.ends == [end]


HOLDS = {
    "as long as one likes": (None, False, False),
    "shorter, without a record": (timedelta(minutes=6), False, True),
    "shorter, with a record": (timedelta(minutes=6), True, False),
    "longer than it may last": (timedelta(hours=30), False, False),
}


@pytest.mark.parametrize("case", HOLDS)
async def test_a_hold_that_may_be_too_short_is_told_in_the_output(
    machine: Machine, case: str
) -> None:
    """Only where nothing else protects the run, and where it may last as long."""
    limit, has_record, is_told = HOLDS[case]
    message = machine.box.message("print('x')")
    body = message if has_record else unclaimed(machine, message)
    handling, letter = await machine.handling(body)
    letter.hold_limit = limit
    slot = await machine.parts.intake.slot()
    with anyio.fail_after(PATIENCE):
        await handling.perform(slot)
    assert handling.request is not None
    told = [text for text in handling.request.warnings if "0.1 h" in text]
    assert bool(told) == is_told


@pytest.mark.parametrize("fault", [OutOfDisk("the drawer is full"), HostFault("read-only")])
async def test_what_cannot_be_buried_goes_back_for_long(machine: Machine, fault: Exception) -> None:
    """Never acknowledged: it is released with the longest delay, and somebody is told."""
    machine.points.raises("bury", fault)
    message = machine.box.message("print('x')")
    del message["experiment"]["filename"]
    letter = await machine.handle(message)
    assert letter.settled == ["release"]
    assert letter.delay == machine.parts.options.retry.longest_delay
    (warning,) = [one.text for one in machine.reports if one.news is News.WARNING]
    assert str(fault) in warning
    assert "comes back" in next(one.text for one in machine.reports if one.news is News.ENDED)
    machine.queue.waiting.clear()
    await machine.check_clean()


async def test_what_could_not_be_buried_is_buried_when_it_comes_back(machine: Machine) -> None:
    """It has ended: what is left to do is to bury it, not to run it again."""
    machine.points.raises("bury", OutOfDisk("the drawer is full"))
    machine.points.raises("build", ZeroDivisionError("a defect"))
    message = machine.box.message("print('x')")
    message["config"]["runner"] = {"max_attempts": 1}
    assert (await machine.handle(message)).settled == ["release"]
    assert (await machine.handle()).settled == ["bury"]
    assert machine.ends == ["internal"] * 2
    assert "build" not in machine.points.passed
    claim = machine.box.claim(message["experiment"]["key"])
    assert claim is not None
    assert (claim["buried"], claim["burying"]) == (True, False)
    await machine.check_clean()


async def test_what_lies_among_the_dead_letters_runs_when_it_is_taken_out(machine: Machine) -> None:
    """Whoever requeues it wants another attempt."""
    machine.points.raises("build", ZeroDivisionError("a defect"))
    message = machine.box.message("print('x')")
    message["config"]["runner"] = {"max_attempts": 1}
    assert (await machine.handle(message)).settled == ["bury"]
    assert (await machine.handle(message)).settled == ["ack"]
    assert machine.ends == ["internal", "completed"]
    await machine.check_clean()


@pytest.mark.parametrize("gone", [QueueGone("no queue"), MessageGone("no message")])
async def test_what_is_gone_is_not_insisted_on(machine: Machine, gone: Exception) -> None:
    """A settling that finds no message or no queue is over at once."""
    machine.points.raises("ack", *[gone] * 9)
    await machine.handle(machine.box.message("print('x')"))
    assert machine.ends == ["completed"]
    await machine.check_clean()
