"""An end that does not wait: what can be stored in time is, and all is given back before it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import StoreUnavailable
from runner.lifecycle.loop import Ends, Loop
from runner.lifecycle.rush import LONGEST_STOP, Haste, waits
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Machine, Switchboard, seen

pytestmark = pytest.mark.anyio

SCRIPT = """
import pathlib, signal, time
pathlib.Path('../modeldir/weights').write_text('w')
pathlib.Path('../retval/retval').write_text('half')
def save(*_):
    pathlib.Path('../modeldir/saved').write_text('s')
    raise SystemExit(0)
signal.signal(signal.SIGTERM, {handler})
print('begun', flush=True)
{end}
"""
POLITE = SCRIPT.format(handler="save", end="time.sleep(1000)")
DEAF = SCRIPT.format(handler="signal.SIG_IGN", end="time.sleep(1000)")
ENDED = SCRIPT.format(handler="save", end="")
SECONDS = st.floats(0, 10_000).map(lambda seconds: timedelta(seconds=seconds))


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon whose runs have an hour between TERM and KILL."""
    with Box(tmp_path) as box:
        async with Machine.open(box, kill_grace=timedelta(hours=1)) as machine:
            yield machine


@asynccontextmanager
async def looping(machine: Machine) -> AsyncIterator[Loop]:
    """Run a loop beside the block and wait for its end."""
    async with machine.supplied(Switchboard(machine.queue)) as supply:
        loop = Loop(machine.parts, supply, Ends())
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(loop.run)
                yield loop


def haste(seconds: float) -> Haste:
    """Return so little time."""
    return Haste("the machine goes", timedelta(seconds=seconds))


def send(machine: Machine, script: str) -> str:
    """Send an experiment and return its key."""
    message = machine.box.message(script)
    machine.queue.send(message)
    return str(message["experiment"]["key"])


async def begun(machine: Machine) -> None:
    """Wait until a run has begun."""
    await seen(lambda: "begun" in machine.box.live_output())


def check_given_back(machine: Machine, key: str) -> None:
    """See that the next attempt may start at once, as if there had been none."""
    assert machine.queue.settlements == ["release"]
    assert machine.queue.letters[-1].delay == timedelta(0)
    claim = machine.box.claim(key)
    assert claim is not None
    assert (claim["state"], claim["previous_cause"]) == ("released", "drained")
    assert claim["counted"] == 0
    assert machine.ends == ["drained"]


@given(SECONDS, SECONDS)
def test_time_is_shared_out(left: timedelta, usual: timedelta) -> None:
    """A run's end, its storing and its settling have a part each, and together no more than all."""
    share = Haste("", left)
    assert share.storing + share.settling == left
    assert share.settling <= left / 2
    assert share.grace(usual) <= min(usual, share.storing)
    assert share.longest_try >= 1
    assert waits(left) + min(left, LONGEST_STOP) == left


async def test_what_a_run_saves_at_its_end_is_stored(machine: Machine) -> None:
    """TERM comes at once; what the script writes then goes home with the last checkpoint."""
    key = send(machine, POLITE)
    async with looping(machine) as loop:
        await begun(machine)
        loop.hasten(haste(60))
    check_given_back(machine, key)
    assert machine.box.stored(key, "modeldir", "saved") == b"s"
    assert "the machine goes" in machine.box.output(key)
    assert "stored retval" not in machine.points.passed
    await machine.check_clean()


async def test_who_does_not_end_is_killed_in_time(machine: Machine) -> None:
    """The usual hour is not waited for."""
    key = send(machine, DEAF)
    async with looping(machine) as loop:
        await begun(machine)
        loop.hasten(haste(8))
    check_given_back(machine, key)
    assert machine.box.stored(key, "modeldir", "weights") == b"w"
    await machine.check_clean()


async def test_a_drain_under_way_is_hastened(machine: Machine) -> None:
    """Also one that stops runs already; of two ends the earlier one counts."""
    key = send(machine, DEAF)
    async with looping(machine) as loop:
        await begun(machine)
        loop.drain()
        loop.drain()
        entry = next(iter(machine.parts.board))
        await seen(lambda: entry.record.stop)
        loop.hasten(haste(8))
        loop.hasten(haste(1000))
    check_given_back(machine, key)
    await machine.check_clean()


@pytest.mark.parametrize("script", [POLITE, ENDED], ids=["runs", "has ended"])
async def test_what_cannot_be_stored_in_time_is_left(machine: Machine, script: str) -> None:
    """A store that takes for ever: the message goes back, uncounted, even of what had completed."""
    reached = machine.points.holds("store modeldir")
    key = send(machine, script)
    async with looping(machine) as loop:
        if script is ENDED:
            await seen(reached.is_set)
        else:
            await begun(machine)
        loop.hasten(haste(5))
    assert reached.is_set()
    check_given_back(machine, key)
    assert "stored modeldir" not in machine.points.passed
    endings = machine.parts.history.endings
    assert "could be stored before the machine is taken away" in endings[-1].detail
    await machine.check_clean()


async def test_a_store_that_is_away_costs_no_attempt(machine: Machine) -> None:
    """Tried once: there is no time for more."""
    machine.points.raises("store modeldir", *[StoreUnavailable("away")] * 1000)
    key = send(machine, ENDED)
    async with looping(machine) as loop:
        await seen(lambda: [one.stage for one in machine.parts.board] == ["uploading"])
        loop.hasten(haste(30))
    check_given_back(machine, key)
    await machine.check_clean()


async def test_a_claim_that_cannot_be_written_keeps_no_message(machine: Machine) -> None:
    """One try has a small part of the time; the message goes back, and the claim grows silent."""
    key = send(machine, POLITE)
    async with looping(machine) as loop:
        await begun(machine)
        machine.points.holds("put claim released")
        loop.hasten(haste(6))
    assert machine.queue.settlements == ["release"]
    claim = machine.box.claim(key)
    assert claim is not None
    assert claim["state"] == "running"


@pytest.mark.parametrize("point", ["stat claim", "read workspace", "build"])
async def test_what_has_not_begun_goes_back_at_once(machine: Machine, point: str) -> None:
    """Whatever it waits for."""
    reached = machine.points.holds(point)
    send(machine, POLITE)
    async with looping(machine) as loop:
        await seen(reached.is_set)
        del machine.points.acts[point]
        loop.hasten(haste(60))
    assert machine.queue.settlements == ["release"]
    assert machine.ends == ["drained"]
    assert json.dumps(machine.box.live_output()) == '""'
    await machine.check_clean()
