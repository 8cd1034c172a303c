"""Stopped means that the experiment ends; lost means besides that nothing of it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import LeaseLost, StoreUnavailable
from runner.lifecycle.stopper import Stopper
from runner.model import Cause, Needs
from tests.acceptance.box import Box
from tests.lifecycle.machine import Machine, seen

pytestmark = pytest.mark.anyio

LONG = "import time; print('begun', flush=True); time.sleep(1000)"
#: Ends when the test says so.
OBEDIENT = """
import pathlib, time
print('begun', flush=True)
pathlib.Path('../modeldir/weights').write_text('w')
while not pathlib.Path('../go').exists():
    time.sleep(0.01)
"""
AWAY = StoreUnavailable("away")
#: So short that it is renewed, or lost, at once.
SHORT = timedelta(seconds=0.1)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


def stop(machine: Machine, cause: Cause = Cause.DRAINED) -> None:
    """Stop everything under way."""
    for entry in machine.parts.board:
        entry.stopper.stop(cause, "the test says so")


def runs(machine: Machine) -> Callable[[], Awaitable[None]]:
    """Return what waits until the experiment's script has begun."""
    return lambda: seen(lambda: "begun" in machine.box.live_output())


def go(machine: Machine) -> None:
    """Let the obedient script end."""
    for workspace in (machine.box.state / "work" / "experiments").iterdir():
        (workspace / "go").touch()


STOPS = {Cause.DRAINED: ("release", "released"), Cause.CANCELLED: ("ack", "ended")}


@pytest.mark.parametrize("cause", STOPS)
@pytest.mark.parametrize("point", ["stat claim", "put claim running done", "read workspace"])
async def test_a_stop_before_the_run_is_heard(machine: Machine, cause: Cause, point: str) -> None:
    """Wherever the attempt stands, the message is settled, and so is a claim that was begun."""
    message = machine.box.message(LONG)
    reached = machine.points.holds(point)
    async with machine.handled(message, lambda: seen(reached.is_set)) as letter:
        del machine.points.acts[point]
        stop(machine, cause)
    settled, state = STOPS[cause]
    assert letter.settled == [settled]
    claim = machine.box.claim(message["experiment"]["key"])
    assert (claim and claim["state"]) == (None if point == "stat claim" and not claim else state)
    assert machine.ends == [cause.value]
    await machine.check_clean()


@pytest.mark.parametrize("cause", STOPS)
async def test_a_stop_while_it_waits_for_room_is_heard(machine: Machine, cause: Cause) -> None:
    """A cancelled experiment never takes its room; one that was drained goes back."""
    message = machine.box.message(LONG)
    message["experiment"]["resources_needed"]["cpus"] = 2
    running = await machine.parts.intake.slot()

    async def waits() -> None:
        await seen(lambda: [entry.stage for entry in machine.parts.board] == ["waiting for room"])

    async with machine.handled(message, waits) as letter:
        stop(machine, cause)
    running.give_back()
    assert letter.settled == [STOPS[cause][0]]
    claim = machine.box.claim(message["experiment"]["key"])
    assert (claim and claim["state"]) == ("ended" if cause is Cause.CANCELLED else None)
    await machine.check_clean()


async def test_what_is_cancelled_while_another_runner_has_it_is_left_to_that_one(
    machine: Machine,
) -> None:
    """A duplicate of the message that waits here says nothing about the run over there."""
    message = machine.box.message(LONG)
    async with Machine.open(machine.box) as other:
        async with other.handled(message, runs(other)):
            message["experiment"]["resources_needed"]["cpus"] = 2
            running = await machine.parts.intake.slot()

            async def waits() -> None:
                await seen(lambda: [e.stage for e in machine.parts.board] == ["waiting for room"])

            async with machine.handled(message, waits) as letter:
                stop(machine, Cause.CANCELLED)
            running.give_back()
            assert letter.settled == ["release"]
            stop(other)
        await other.check_clean()


async def test_a_closed_intake_lets_nobody_wait_for_room(machine: Machine) -> None:
    """What is in hand without room when a drain begins goes back at once."""
    message = machine.box.message(LONG)
    message["experiment"]["resources_needed"]["cpus"] = 2
    running = await machine.parts.intake.slot()

    async def waits() -> None:
        await seen(lambda: [entry.stage for entry in machine.parts.board] == ["waiting for room"])

    async with machine.handled(message, waits) as letter:
        machine.parts.intake.close()
    assert await machine.parts.intake.reserved(Needs(cores=2)) is None
    running.give_back()
    assert (letter.settled, letter.delay) == (["release"], timedelta(0))
    await machine.check_clean()


@pytest.mark.parametrize("cause", STOPS)
async def test_a_stopped_run_is_stored_and_settled(machine: Machine, cause: Cause) -> None:
    """What it made so far is kept, but no result."""
    script = (
        "import pathlib, time\n"
        "pathlib.Path('../retval/retval').write_text('half')\n"
        "pathlib.Path('../modeldir/weights').write_text('w')\n" + LONG
    )
    message = machine.box.message(script)
    async with machine.handled(message, runs(machine)) as letter:
        stop(machine, cause)
    assert letter.settled == [STOPS[cause][0]]
    assert "stored modeldir" in machine.points.passed
    assert "stored retval" not in machine.points.passed
    assert machine.ends == [cause.value]
    await machine.check_clean()


@pytest.mark.parametrize("script", [LONG, "print('begun', flush=True)"])
async def test_a_stopping_daemon_waits_for_no_store(machine: Machine, script: str) -> None:
    """What cannot be stored now is run again, rather than have the daemon killed."""
    machine.points.raises("store output", *[AWAY] * 1000)
    reached = anyio.Event()
    machine.points.acts["report started"] = _sets(reached)
    async with machine.handled(machine.box.message(script), reached.wait) as letter:
        stop(machine)
    assert letter.settled == ["release"]
    await machine.check_clean()


def _sets(event: anyio.Event) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        event.set()

    return act


async def test_cancelled_stays_cancelled_when_the_store_is_away(tmp_path: Path) -> None:
    """Without its results, but over: it does not come back."""
    async with Machine.open(Box(tmp_path), upload_patience=timedelta(0)) as machine:
        machine.points.raises("store output", *[AWAY] * 1000)
        async with machine.handled(machine.box.message(LONG), runs(machine)) as letter:
            stop(machine, Cause.CANCELLED)
        assert letter.settled == ["ack"]
        assert machine.ends == ["cancelled"]
        await machine.check_clean()


async def test_a_lost_message_without_a_claim_stores_nothing(machine: Machine) -> None:
    """Nothing says that it is ours: the run ends, and whoever has the message stores."""
    message = machine.box.message(LONG)
    machine.queue.lease = SHORT
    machine.points.raises("stat claim", PermissionError())
    for artifact in message["experiment"]["artifacts"].values():
        artifact["mutable"] = False
    del message["experiment"]["artifacts"]["output"]
    for label in ("modeldir", "retval", "tb", "_metrics", "_metadata"):
        del message["experiment"]["artifacts"][label]
    async with machine.handled(message, runs(machine)) as letter:
        letter.is_lost = True
    assert letter.settled == []
    assert [word for word in machine.points.passed if word.startswith("store")] == []
    assert machine.ends == ["lease-lost"]
    await machine.check_clean()


async def test_a_lost_message_with_its_claim_goes_on(machine: Machine) -> None:
    """The record says that the experiment is ours, so it is run to its end and stored."""
    machine.queue.lease = SHORT
    message = machine.box.message(OBEDIENT)
    async with machine.handled(message, runs(machine)) as letter:
        letter.is_lost = True
        renewals = machine.points.passed.count("extend")
        await seen(lambda: machine.points.passed.count("extend") > renewals)
        go(machine)
    assert letter.settled == []
    claim = machine.box.claim(message["experiment"]["key"])
    assert claim is not None
    assert (claim["state"], claim["outcome"]["cause"]) == ("ended", "completed")
    assert "stored modeldir" in machine.points.passed
    await machine.check_clean()


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine whose claims are renewed many times a second."""
    async with Machine.open(Box(tmp_path), claim_lease=SHORT) as machine:
        yield machine


def taken_over(machine: Machine) -> None:
    """Have every claim's next write tell that somebody else has it."""
    for point in ("put claim again", "put claim ended", "put claim released"):
        machine.points.raises(point, *[LeaseLost("taken over")] * 1000)


def stored_after(machine: Machine, begin: int) -> list[str]:
    """Return what was stored since the number of passed points was ``begin``."""
    return [word for word in machine.points.passed[begin:] if word.startswith("stored")]


async def test_a_lost_claim_ends_the_run_and_stores_nothing(hasty: Machine) -> None:
    """Another runner has it: what we made since then must not replace what that one makes."""
    async with hasty.handled(hasty.box.message(LONG), runs(hasty)) as letter:
        taken_over(hasty)
        begin = len(hasty.points.passed)
    assert letter.settled == ["release"]
    assert stored_after(hasty, begin) == []
    assert hasty.ends == ["lease-lost"]
    await hasty.check_clean()


async def test_a_claim_lost_while_it_ends_stores_nothing(hasty: Machine) -> None:
    """A run that ended by itself in the same moment is another runner's all the same."""
    async with hasty.handled(hasty.box.message(OBEDIENT), runs(hasty)) as letter:
        begin = len(hasty.points.passed)
        go(hasty)
        stop(hasty, Cause.LEASE_LOST)
    assert letter.settled == ["release"]
    assert stored_after(hasty, begin) == []
    await hasty.check_clean()


async def test_a_claim_lost_after_another_stop_stores_nothing(hasty: Machine) -> None:
    """The loss overrules what was asked for before."""
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + OBEDIENT
    async with hasty.handled(hasty.box.message(script), runs(hasty)) as letter:
        stop(hasty, Cause.CANCELLED)
        taken_over(hasty)
        begin = len(hasty.points.passed)
        await seen(lambda: next(iter(hasty.parts.board)).stopper.is_lost)
        go(hasty)
    assert letter.settled == ["release"]
    assert stored_after(hasty, begin) == []
    await hasty.check_clean()


async def test_a_claim_lost_while_it_is_stored_ends_the_storing(hasty: Machine) -> None:
    """What is on its way is given up, and nothing more is begun."""
    reached = hasty.points.holds("store modeldir")
    script = OBEDIENT.replace("while", "while False and")
    async with hasty.handled(hasty.box.message(script), lambda: seen(reached.is_set)) as letter:
        taken_over(hasty)
    assert letter.settled == ["release"]
    assert "stored modeldir" not in hasty.points.passed
    assert hasty.ends == ["lease-lost"]
    await hasty.check_clean()


async def test_a_lost_claim_ends_the_checkpoints_at_once(tmp_path: Path) -> None:
    """The run may take its grace to end; nothing is stored meanwhile."""
    often = timedelta(seconds=0.01)
    script = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('../termed').touch())\n" + OBEDIENT
    )
    script = script.replace("time.sleep(0.01)", "(time.sleep(0.01), print('.', flush=True))")
    async with Machine.open(Box(tmp_path), claim_lease=SHORT, checkpoint_interval=often) as machine:
        async with machine.handled(machine.box.message(script), runs(machine)):
            await seen(lambda: machine.points.passed.count("stored output") > 1)
            taken_over(machine)
            await seen(lambda: next(iter(machine.parts.board)).stopper.is_lost)
            begin = len(machine.points.passed)
            experiments = machine.box.state / "work" / "experiments"
            await seen(lambda: list(experiments.glob("*/termed")))
            go(machine)
        assert stored_after(machine, begin) in ([], ["stored output"])
        await machine.check_clean()


async def test_a_store_that_is_away_for_longer_than_the_lease_costs_no_run(hasty: Machine) -> None:
    """Nobody could take it over there: asked again before the upload, it is still ours."""
    message = hasty.box.message(OBEDIENT)
    async with hasty.handled(message, runs(hasty)) as letter:
        tries: list[int] = []

        async def away() -> None:
            tries.append(1)
            if len(tries) < 30:
                raise AWAY

        hasty.points.acts["put claim again"] = away
        await seen(lambda: len(tries) > 12)
        go(hasty)
    assert letter.settled == ["ack"]
    assert hasty.ends == ["completed"]
    await hasty.check_clean()


async def test_only_the_loss_overrules_the_first_cause() -> None:
    """A second wish changes nothing, unless it is that the experiment is not ours any more."""
    stopper = Stopper()
    stopper.stop(Cause.CANCELLED, "first")
    stopper.stop(Cause.DRAINED, "second")
    assert (stopper.cause, stopper.detail) == (Cause.CANCELLED, "first")
    assert not await stopper.pause(1000)
    stopper.stop(Cause.LEASE_LOST, "third")
    assert stopper.cause is Cause.LEASE_LOST
    assert stopper.is_lost
    assert await Stopper().pause(0)
