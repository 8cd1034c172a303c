"""A machine that fails everybody takes nothing more, says so, and mends by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runner.errors import HostFault, Misconfigured
from runner.lifecycle.fuses.fuse import Fuse
from runner.lifecycle.fuses.trial import Trial
from runner.lifecycle.fuses.watch import WHO, FuseWatch
from runner.lifecycle.loop import Loop
from runner.lifecycle.runs.bounding import Bounding
from runner.model import News
from runner.sandboxes.base import Command, Launch
from runner.sandboxes.plain import PlainSandbox
from runner.supervisor.bounds import CGROUP
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Line, Machine, Points, Switchboard, seen

pytestmark = pytest.mark.anyio


class Clock:
    """Seconds that pass when we say so."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Walls(PlainSandbox):
    """A sandbox that an operator has to repair."""

    trouble = ""

    def launch(self, command: Command) -> Launch:
        """Start, or not."""
        if self.trouble:
            raise Misconfigured(self.trouble)
        return super().launch(command)


@asynccontextmanager
async def ill(root: Path, limit: int = 2) -> AsyncIterator[tuple[Machine, Walls, Clock]]:
    """Have a machine with such a sandbox, and a fuse."""
    clock, walls = Clock(), Walls()
    with Box(root) as box:
        async with Machine.open(box) as machine:
            parts = replace(machine.parts, sandbox=walls, fuse=Fuse(limit, clock))
            yield replace(machine, parts=parts), walls, clock


@asynccontextmanager
async def looping(machine: Machine) -> AsyncIterator[None]:
    """Run a loop and watch its fuse; drain at the end."""
    async with machine.supplied(Switchboard(machine.queue)) as supply:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                watch = FuseWatch(machine.parts, Trial(machine.parts).probe)
                group.start_soon(watch.watch)
                loop = Loop(machine.parts, supply)
                async with anyio.create_task_group() as loops:
                    loops.start_soon(loop.run)
                    yield
                    loop.drain()
                group.cancel_scope.cancel()


def send(machine: Machine, count: int = 1) -> None:
    """Send experiments."""
    for _ in range(count):
        machine.queue.send(machine.box.message("print('x')"))


def told(machine: Machine, news: News) -> list[str]:
    """Return what people were told."""
    return [one.text for one in machine.reports if one.news is news]


async def test_a_sandbox_that_does_not_start_stops_the_claiming_until_it_does(
    tmp_path: Path,
) -> None:
    """What waits keeps waiting, or goes to others; nobody has to say that it is mended."""
    async with ill(tmp_path) as (machine, walls, clock):
        walls.trouble = "bubblewrap is not there"
        send(machine, 2)
        async with looping(machine):
            await seen(lambda: told(machine, News.FUSE_BLOWN))
            assert machine.parts.intake.suspension.by == (WHO,)
            await seen(lambda: machine.ends == ["sandbox-unavailable"] * 2)
            clock.now += 30
            machine.parts.fuse.look_now()
            await seen(lambda: len(told(machine, News.FUSE_BLOWN)) == 2)
            assert told(machine, News.FUSE_BLOWN)[1].endswith(
                "a probe experiment fails: bubblewrap is not there"
            )
            assert len(machine.ends) == 2
            walls.trouble = ""
            machine.parts.fuse.look_now()
            await seen(lambda: machine.ends.count("completed") == 2)
        assert told(machine, News.RECOVERED) == ["a probe experiment has passed: claiming again"]
        await machine.check_clean()


async def test_a_machine_that_is_well_passes(tmp_path: Path) -> None:
    """And nothing of the probe stays: neither workspace nor record."""
    async with ill(tmp_path) as (machine, _, _):
        assert await Trial(machine.parts).probe() == ""
        await machine.check_clean()


async def test_what_a_probe_lacks_is_said(tmp_path: Path) -> None:
    """An environment that cannot be had, a directory that takes nothing, a script that fails."""
    points = Points()
    with Box(tmp_path) as box:
        async with Machine.open(box, points=points, queue=Line("local_test", points)) as machine:
            points.raises("build", HostFault("no interpreter is left"))
            assert await Trial(machine.parts).probe() == "no interpreter is left"
            file = tmp_path / "in the way"
            file.write_text("")
            elsewhere = replace(machine.parts, working_dir=file)
            assert "no workspace can be made" in await Trial(elsewhere).probe()
            assert "AssertionError" in await Trial(replace(machine.parts, sandbox=Lying())).probe()
            await machine.check_clean()


async def test_a_defect_in_a_probe_is_what_it_lacks(tmp_path: Path) -> None:
    """Who cannot try a machine cannot trust it; and nothing else ends for it."""
    points = Points()
    with Box(tmp_path) as box:
        async with Machine.open(box, points=points, queue=Line("local_test", points)) as machine:
            points.raises("attach", ZeroDivisionError("a defect"))
            assert await Trial(machine.parts).probe() == "ZeroDivisionError: a defect"
            await machine.check_clean()


async def test_a_probe_is_bounded_as_experiments_are(tmp_path: Path) -> None:
    """Where they cannot be it does not pass; here for a bound that no kernel takes."""
    async with ill(tmp_path) as (machine, _, _):
        strict = Bounding(CGROUP, is_strict=True, pids=10**30)
        options = replace(machine.parts.options, bounding=strict)
        said = await Trial(replace(machine.parts, options=options)).probe()
        assert "cannot have control groups of its own" in said, said
        await machine.check_clean()


class Lying(PlainSandbox):
    """Runs something else."""

    def launch(self, command: Command) -> Launch:
        """Replace the script."""
        return super().launch(replace(command, argv=(*command.argv[:-1], "assert False")))
