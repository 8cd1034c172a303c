"""A machine that cannot begin an experiment costs it no attempt, and does not try it for ever."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import HostFault, Misconfigured, OutOfDisk, StoreUnavailable
from runner.lifecycle.disposition import RetryPolicy, counts, dispose
from runner.lifecycle.fuses.fuse import Fuse
from runner.lifecycle.sources.pauses import Pauses
from runner.lifecycle.sources.pulling import Puller
from runner.lifecycle.sources.trust import Trust
from runner.model import Bury, Cause, Failed, Outcome, Release
from runner.sandboxes.base import Command, Launch
from runner.sandboxes.plain import PlainSandbox
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Machine, seen, started

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
POLICY = RetryPolicy(max_attempts=3, base_delay=10 * SECOND, longest_delay=60 * SECOND)
ATTEMPTS = RetryPolicy().max_attempts


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    with Box(tmp_path) as box:
        async with Machine.open(box) as machine:
            yield machine


class Refusing(PlainSandbox):
    """Walls that an operator has to repair."""

    def launch(self, command: Command) -> Launch:
        """Start nothing."""
        del command
        raise Misconfigured("bubblewrap is not there")


class Lost(PlainSandbox):
    """What it starts is not there."""

    def launch(self, command: Command) -> Launch:
        """Name a program that no machine has."""
        return super().launch(replace(command, argv=("/no/such/python", *command.argv[1:])))


def _never_builds(machine: Machine) -> Machine:
    machine.points.raises("build", *[HostFault("no interpreter is left")] * 100)
    return machine


def _has_no_room(machine: Machine) -> Machine:
    machine.points.raises("read workspace", *[OutOfDisk("nothing is left")] * 100)
    return machine


def _makes_no_workspace(machine: Machine) -> Machine:
    file = machine.box.root / "in the way"
    file.write_text("")
    return replace(machine, parts=replace(machine.parts, working_dir=file))


def _has_no_walls(machine: Machine) -> Machine:
    return replace(machine, parts=replace(machine.parts, sandbox=Refusing()))


def _starts_nothing(machine: Machine) -> Machine:
    return replace(machine, parts=replace(machine.parts, sandbox=Lost()))


@dataclass(frozen=True)
class Illness:
    """What a machine cannot do, and how its experiments' attempts end for it."""

    cause: str
    befalls: Callable[[Machine], Machine]


ILLNESSES = {
    "no environment": Illness("host-fault", _never_builds),
    "a full disk": Illness("out-of-disk", _has_no_room),
    "no workspace": Illness("host-fault", _makes_no_workspace),
    "no walls": Illness("sandbox-unavailable", _has_no_walls),
    "nothing starts": Illness("host-fault", _starts_nothing),
}


def claim(machine: Machine, message: Json) -> Json:
    """Return the claim record of an experiment."""
    (file,) = machine.box.storage.rglob(f"_claim.{message['experiment']['key']}.json")
    found: Json = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("name", ILLNESSES)
async def test_what_no_machine_began_has_all_of_its_attempts(machine: Machine, name: str) -> None:
    """Tried more often than attempts, it is still there for a machine that is well."""
    illness = ILLNESSES[name]
    ill = illness.befalls(machine)
    message = machine.box.message("print('here')")
    machine.queue.send(message)
    for number in range(ATTEMPTS + 2):
        letter = await ill.handle()
        assert (letter.settled, letter.delay) == (["release"], 7 * SECOND * 2**number)
    assert machine.ends == [illness.cause] * (ATTEMPTS + 2)
    left = claim(machine, message)
    assert (left["state"], left["attempt"], left["counted"]) == ("released", ATTEMPTS + 2, 0)
    machine.points.acts.clear()
    assert (await machine.handle()).settled == ["ack"]
    assert machine.ends[-1] == "completed"
    await machine.check_clean()


async def test_a_store_that_is_away_as_well_changes_nothing(machine: Machine) -> None:
    """There is nothing to be stored but the explanation."""
    _never_builds(machine)
    machine.points.raises("store output", StoreUnavailable("away"))
    message = machine.box.message("print('here')")
    await machine.handle(message)
    assert machine.ends == ["host-fault"]
    assert claim(machine, message)["counted"] == 0


async def test_it_is_the_fuse_that_hears_of_it(machine: Machine) -> None:
    """Uncounted for the experiments, and a sign of the machine's state all the same."""
    fuse = Fuse(2)
    ill = replace(_never_builds(machine), parts=replace(machine.parts, fuse=fuse))
    for project in ("one", "two"):
        message = machine.box.message("print('here')")
        message["experiment"]["project"] = project
        await ill.handle(message)
        machine.queue.waiting.clear()  # what came back is not the next one
    assert fuse.is_blown


async def test_a_machine_without_a_fuse_rests_between_its_tries(machine: Machine) -> None:
    """It does not go through a whole queue as fast as it can; what ran ends the resting."""
    rested: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            rested.append(round(seconds))

    errors: list[Exception] = [HostFault("no interpreter is left")] * 4
    machine.points.raises("build", *errors)
    for _ in range(2):
        machine.queue.send(machine.box.message("print('here')"))
    async with anyio.create_task_group() as group:
        puller = Puller(
            machine.parts,
            machine.queue,
            Trust(is_named=True),
            anyio.Semaphore(1),
            lambda work: started(group, lambda: seen_through(work)),
            rests=Pauses(chance=lambda: 0.5),
            sleep=sleep,
        )

        async def seen_through(work: Callable[[], Awaitable[Outcome]]) -> None:
            await work()
            puller.limit.release()

        with anyio.fail_after(PATIENCE):
            group.start_soon(puller.pull)
            await seen(lambda: machine.ends.count("completed") == 2)
            group.cancel_scope.cancel()
    assert rested[:4] == [1, 2, 4, 8]
    assert puller.rests.after(HostFault()) == 1


def test_the_machines_fault_counts_only_before_anything_ran() -> None:
    """A run that its machine ended may have been what ended the machine."""
    assert counts(Failed(Cause.HOST_FAULT))
    assert not counts(Failed(Cause.HOST_FAULT, unbegun=True))


def test_what_no_machine_can_begin_is_buried_in_the_end() -> None:
    """After about a day; a broker that does not count is asked less and less often."""
    never = Failed(Cause.HOST_FAULT, detail="a name too long", unbegun=True)

    def told(received: int, tries: int) -> object:
        return dispose(never, attempt=0, policy=POLICY, receive_count=received, tries=tries)

    assert [told(n, n) for n in (1, 2, 40)] == [Release(n * SECOND) for n in (10, 20, 60)]
    assert told(1, 40) == Release(60 * SECOND)
    assert told(POLICY.patience, 1) == Bury("host-fault, handed out 100 times: a name too long")
