"""Cards are taken when an experiment can start, and given back when it has run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.lifecycle.board import Entry
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.handling import Handling
from runner.lifecycle.sources.pulling import fresh_record
from runner.model import Allocation, Bytes, Capacity, Cause, Gpu, Needs
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Machine, seen

pytestmark = pytest.mark.anyio

CARD = Gpu("GPU-0", "NVIDIA L4", Bytes(24 << 30), 12)
TOTAL = Capacity(4, Bytes(1 << 40), Bytes(1 << 40), (CARD,))
SEES = "import os; print('card', os.environ['CUDA_VISIBLE_DEVICES'], flush=True)"


@asynccontextmanager
async def opened(root: Path, seconds: float = 1800.0) -> AsyncIterator[Machine]:
    """Open a daemon's parts, with one card for which one waits for so long."""
    rules = Rules(staged=1, staging_seconds=seconds)
    async with Machine.open(Box(root), total=TOTAL, rules=rules) as machine:
        yield machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine on which nobody waits too long."""
    async with opened(tmp_path) as machine:
        yield machine


def message(machine: Machine, **experiment: Any) -> Json:
    """Return a message that needs a card."""
    found = machine.box.message(SEES, **experiment)
    found["experiment"]["resources_needed"] |= {"gpus": 1, "gpuCount": 1}
    return found


def busy(machine: Machine) -> Allocation:
    """Have somebody use the card."""
    share = Allocation(0, Bytes(0), Bytes(0), (CARD.uuid,))
    machine.parts.intake.adopt(share, broker="local", project="memory", queue="other")
    return share


def waiting(machine: Machine) -> Callable[[], Awaitable[None]]:
    """Return what waits until one is ready but for its card."""

    def waits() -> bool:
        return [entry.stage for entry in machine.parts.board] == ["waiting for a GPU"]

    return lambda: seen(waits)


async def test_it_is_built_while_its_card_is_busy_and_runs_there_when_it_is_free(
    machine: Machine,
) -> None:
    """It sees that card alone; what was shown of it before named none."""
    other, body = busy(machine), message(machine)
    async with machine.handled(body, waiting(machine)) as letter:
        assert "build" in machine.points.passed
        assert [entry.record.allocation.gpus for entry in machine.parts.board] == [()]
        machine.parts.intake.release(other)
    assert letter.settled == ["ack"]
    assert "card GPU-0" in machine.box.output(body["experiment"]["key"])
    await machine.check_clean()


async def test_the_record_names_the_card_before_anything_runs_there(machine: Machine) -> None:
    """A daemon that comes after a crash keeps it for what may still run."""
    found: list[tuple[str, ...]] = []

    async def look() -> None:
        found.extend(record.allocation.gpus for record in machine.parts.records.read_all())

    machine.points.acts["report started"] = look
    letter = await machine.handle(message(machine))
    assert found == [("GPU-0",)]
    assert letter.settled == ["ack"]
    await machine.check_clean()


async def test_the_card_is_free_before_the_results_are_stored(machine: Machine) -> None:
    """A card does not wait for an upload either."""
    free: list[bool] = []

    async def look() -> None:
        free.append(machine.ledger.free.gpus == (CARD,))

    machine.points.acts["store output"] = look
    await machine.handle(message(machine))
    assert free == [True]
    await machine.check_clean()


@pytest.mark.parametrize(
    ("cause", "settled"), [(Cause.DRAINED, "release"), (Cause.CANCELLED, "ack")]
)
async def test_a_stop_is_heard_while_it_waits(machine: Machine, cause: Cause, settled: str) -> None:
    """It never takes the card."""
    other = busy(machine)
    async with machine.handled(message(machine), waiting(machine)) as letter:
        for entry in machine.parts.board:
            entry.stopper.stop(cause, "the test says so")
    machine.parts.intake.release(other)
    assert letter.settled == [settled]
    assert machine.ends == [cause.value]
    await machine.check_clean()


async def test_its_lifetime_passes_while_it_waits(machine: Machine) -> None:
    """It has ended then, and is not run any more."""
    other, body = busy(machine), message(machine, time_added=time.time())
    body["config"]["experimentLifetime"] = "3s"
    async with machine.handled(body, waiting(machine)) as letter:
        pass
    machine.parts.intake.release(other)
    assert letter.settled == ["ack"]
    assert machine.ends == [Cause.LIFETIME.value]
    await machine.check_clean()


async def test_it_goes_back_when_the_card_stays_busy_and_nothing_is_counted(
    tmp_path: Path,
) -> None:
    """For half a minute it is left to other machines."""
    async with opened(tmp_path, seconds=0.05) as machine:
        other, body = busy(machine), message(machine)
        letter = await machine.handle(body)
        machine.parts.intake.release(other)
        assert letter.settled == ["release"]
        assert letter.delay is not None
        assert letter.delay.total_seconds() == 30
        claim = machine.box.claim(body["experiment"]["key"])
        assert claim is not None
        assert (claim["state"], claim["counted"]) == ("released", 0)
        assert machine.ends == [Cause.NO_ROOM.value]
        await machine.queue.receive()
        await machine.check_clean()


@pytest.mark.parametrize("point", ["read workspace", "build", "attach"])
async def test_a_drain_gives_it_back_wherever_it_stands(machine: Machine, point: str) -> None:
    """At once: what is being fetched for it is not waited for."""
    other = busy(machine)
    reached = machine.points.holds(point)
    async with machine.handled(message(machine), lambda: seen(reached.is_set)) as letter:
        machine.parts.intake.close()
    machine.parts.intake.release(other)
    assert letter.settled == ["release"]
    assert letter.delay is not None
    assert letter.delay.total_seconds() == 0
    await machine.check_clean()


async def test_a_drain_gives_it_back_before_it_fetches_anything(machine: Machine) -> None:
    """When it begins while the claim is taken."""
    other = busy(machine)

    async def close() -> None:
        machine.parts.intake.close()

    machine.points.acts["report accepted"] = close
    letter = await machine.handle(message(machine))
    machine.parts.intake.release(other)
    assert letter.settled == ["release"]
    assert "read workspace" not in machine.points.passed
    await machine.check_clean()


async def test_behind_one_that_waits_its_queue_is_not_asked_for_another(machine: Machine) -> None:
    """Its next message probably needs a card, too: it would be received for nothing."""
    other = busy(machine)
    slot = await machine.parts.intake.slot()
    staged = slot.grow(Needs(gpu_count=1))
    assert staged is not None
    machine.queue.send(message(machine))
    letter, told = await machine.queue.receive(), list[Needs]()
    entry = Entry(fresh_record(machine.queue, letter))
    handling = Handling(machine.parts, letter, entry, lacks=told.append)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, await machine.parts.intake.slot())
            await seen(lambda: entry.stage == "waiting for room")
            assert [needs.gpu_count for needs in told] == [1]
            machine.parts.intake.release(other)
            machine.parts.intake.release(staged)
    assert letter.settled == ["ack"]
    assert handling.too_big_for_now is None
    await machine.check_clean()


async def test_after_a_crash_the_card_is_kept_until_nothing_can_run_there(
    machine: Machine,
) -> None:
    """The daemon may have died after it started the run, and before it wrote that down."""
    machine.queue.send(message(machine))
    letter = await machine.queue.receive()
    share = Allocation(1, Bytes(0), Bytes(0), (CARD.uuid,))
    record = fresh_record(machine.queue, letter).but(allocation=share)
    machine.parts.records.write(record)
    [handling] = await machine.adopted()
    assert machine.ledger.free.gpus == ()
    with anyio.fail_after(PATIENCE):
        await handling.resume()
    assert machine.queue.settlements == ["release"]
    await machine.check_clean()
