"""A machine that is taken away: nothing more is claimed, all is given back, and people know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import Unavailable
from runner.lifecycle.claiming.suspension import UNKNOWN
from runner.lifecycle.loop import Loop
from runner.lifecycle.notice import WHO, Heeding
from runner.model import News
from runner.notices.base import Notice, Service, Tell
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Machine, Switchboard, seen

pytestmark = pytest.mark.anyio

LONG = "import time; print('begun', flush=True); time.sleep(1000)"


class Cloud(Service):
    """A metadata service that says what a test wants."""

    name = "cloud"

    def __init__(self, *, is_there: bool = True, word: bool = False) -> None:
        super().__init__({})
        self._is_there = is_there
        self._has_word = word
        self.watches = 0
        self.tell: Tell | None = None
        self._trouble: Exception | None = None
        self._failed = anyio.Event()

    async def is_there(self) -> bool:
        """Tell."""
        return self._is_there

    async def watch(self, tell: Tell) -> None:
        """Have the test tell."""
        self.watches += 1
        self.tell = tell
        if self._has_word:
            await tell(None)
        await self._failed.wait()
        raise self._trouble or Unavailable("away")

    def fail(self, trouble: Exception | None = None) -> None:
        """Have this and every later watch end."""
        self._trouble = trouble
        self._failed.set()

    async def say(self, seconds: float | None) -> None:
        """Announce an end, or none."""
        await seen(lambda: self.tell)
        assert self.tell is not None
        left = None if seconds is None else timedelta(seconds=seconds)
        await self.tell(None if left is None else Notice("the cloud takes it", left))


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    with Box(tmp_path) as box:
        async with Machine.open(box) as machine:
            yield machine


@asynccontextmanager
async def heeding(
    machine: Machine, cloud: Cloud, *, is_named: bool = True
) -> AsyncIterator[tuple[Loop, anyio.Event]]:
    """Run a loop that heeds a cloud; the event tells of the loop's end."""
    async with machine.supplied(Switchboard(machine.queue)) as supply:
        loop, over = Loop(machine.parts, supply), anyio.Event()

        async def run() -> None:
            await loop.run()
            over.set()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                await group.start(Heeding(loop, cloud, is_named=is_named, pause=0.001).heed)
                group.start_soon(run)
                yield loop, over
                group.cancel_scope.cancel()


@asynccontextmanager
async def running(
    machine: Machine, cloud: Cloud, script: str = LONG
) -> AsyncIterator[tuple[Loop, anyio.Event]]:
    """Run such a loop from when an experiment has begun, and the cloud has announced nothing."""
    machine.queue.send(machine.box.message(script))
    async with heeding(machine, cloud) as heeded:
        await cloud.say(None)
        await seen(lambda: "begun" in machine.box.live_output())
        yield heeded


def told(machine: Machine, *news: News) -> list[str]:
    """Return what people were told."""
    return [one.text for one in machine.reports if one.news in news]


async def test_nothing_is_claimed_before_the_first_word(machine: Machine) -> None:
    """It would only be given back."""
    cloud = Cloud()
    machine.queue.send(machine.box.message("print('x')"))
    async with heeding(machine, cloud):
        await seen(lambda: cloud.tell)
        assert machine.parts.intake.suspension.by == (UNKNOWN,)
        assert len(machine.queue.waiting) == 1
        await cloud.say(None)
        await seen(lambda: machine.ends)
    assert machine.ends == ["completed"]


async def test_a_notice_gives_everything_back_and_ends_the_daemon(machine: Machine) -> None:
    """People are told why, and what waits is left to others."""
    cloud = Cloud()
    async with running(machine, cloud) as (_, over):
        await cloud.say(60)
        machine.queue.send(machine.box.message("print('never')"))
        await over.wait()
    assert machine.ends == ["drained"]
    assert machine.queue.settlements[0] == "release"
    assert len(machine.queue.waiting) == 2
    assert told(machine, News.MACHINE_ENDING) == [
        "the cloud takes it in 60 s: nothing is claimed any more, what runs is given back"
    ]


async def test_a_daemon_that_is_started_in_the_last_minute_waits(machine: Machine) -> None:
    """Whatever starts daemons would start the next one at once, for ever."""
    cloud = Cloud()
    machine.queue.send(machine.box.message(LONG))
    async with heeding(machine, cloud) as (loop, _):
        await cloud.say(60)
        await anyio.wait_all_tasks_blocked()
        assert machine.parts.intake.suspension.by == (WHO,)
        assert not loop.is_draining
        await cloud.say(None)
        await seen(lambda: "begun" in machine.box.live_output())
        loop.drain()
        loop.drain()
        await seen(lambda: machine.ends)
    assert told(machine, News.RECOVERED) == ["this machine's end is announced no more"]


async def test_with_an_hour_runs_may_end_first(machine: Machine) -> None:
    """Two minutes before the end they are stopped; this one ends by itself, and then the daemon."""
    cloud = Cloud()
    script = "import time; print('begun', flush=True); time.sleep(1)"
    async with running(machine, cloud, script) as (_, over):
        await cloud.say(3600)
        await over.wait()
    assert machine.ends == ["completed"]
    assert "what runs may end until then" in told(machine, News.MACHINE_ENDING)[0]


async def test_a_defect_in_listening_takes_nothing_back(machine: Machine) -> None:
    """What was announced comes, although nobody hears of it any more."""
    cloud = Cloud()
    async with running(machine, cloud) as (_, over):
        await cloud.say(120.3)
        cloud.fail(ZeroDivisionError("a defect"))
        await over.wait()
    assert machine.ends == ["drained"]


async def test_a_notice_that_is_taken_back_in_time_stops_nothing(machine: Machine) -> None:
    """And what came again later counts anew."""
    cloud = Cloud()
    async with running(machine, cloud) as (loop, over):
        await cloud.say(120.5)
        await cloud.say(None)
        await anyio.sleep(0.7)
        assert not loop.is_draining
        assert not machine.parts.intake.suspension.by
        await cloud.say(60)
        await over.wait()
    assert machine.ends == ["drained"]


async def test_where_nobody_answers_nobody_is_asked_again(machine: Machine) -> None:
    """And everything is as if there were no such thing."""
    cloud = Cloud(is_there=False)
    machine.queue.send(machine.box.message("print('x')"))
    async with heeding(machine, cloud, is_named=False):
        await seen(lambda: machine.ends)
    assert cloud.watches == 0
    assert machine.ends == ["completed"]


async def test_a_service_that_was_heard_again_is_asked_again_soon(machine: Machine) -> None:
    """However often it failed in the course of time: a notice may come in the next minute.

    Were the pauses to go on doubling, the twentieth would take a quarter of an hour.
    """
    cloud = Cloud(word=True)
    cloud.fail()
    async with heeding(machine, cloud):
        await seen(lambda: cloud.watches > 20)


async def test_a_service_that_fails_is_asked_again_and_costs_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told once; experiments are claimed meanwhile."""
    cloud = Cloud()
    cloud.fail()
    machine.queue.send(machine.box.message("print('x')"))
    async with heeding(machine, cloud):
        await seen(lambda: machine.ends and cloud.watches > 2)
    assert capsys.readouterr().out.count("notices of this machine's end are not heard") == 1
