"""What an operator is told to look after, when it begins and when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runner.errors import QueueDenied
from runner.lifecycle.claiming.intake import Intake, Slot, Turn
from runner.lifecycle.host_news import HostNews
from runner.model import Needs, News, Report
from tests.acceptance.box import Box
from tests.lifecycle.machine import Line, Machine, seen

pytestmark = pytest.mark.anyio


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Return a daemon's parts."""
    with Box(tmp_path) as box:
        async with Machine.open(box) as machine:
            yield machine


@asynccontextmanager
async def watched(machine: Machine, long: float = 3600.0) -> AsyncIterator[None]:
    """Have an eye on the machine, all the time."""
    news = HostNews(
        machine.parts,
        machine.supply,
        lambda: {machine.queue.name: machine.queue},
        look_seconds=0.002,
        room_seconds=0.0,
        long=long,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(news.watch)
        await anyio.wait_all_tasks_blocked()
        yield
        group.cancel_scope.cancel()


def told(machine: Machine, news: News) -> list[Report]:
    """Return the reports of this kind."""
    return [report for report in machine.reports if report.news is news]


async def test_what_is_there_at_the_start_is_no_news(machine: Machine) -> None:
    """A daemon that starts with its credentials in order has nothing to tell of them."""
    async with watched(machine):
        await anyio.sleep(0.02)
    assert machine.reports == []


async def test_a_credential_that_works_again_is_told(machine: Machine) -> None:
    """The end of a trouble that somebody was told of."""
    (source,) = machine.supply
    async with watched(machine):
        await source.failed(QueueDenied("the key is not accepted"))
        await anyio.sleep(0.02)
        source.works()
        await seen(lambda: told(machine, News.RECOVERED))


async def test_a_file_that_is_no_credential_is_told(machine: Machine) -> None:
    """Once, and once more when it is mended."""
    wrong = {"/certs/x": "it is empty"}
    machine.supply.unusable = lambda: wrong
    async with watched(machine):
        await seen(lambda: told(machine, News.WARNING))
        wrong.clear()
        await seen(lambda: told(machine, News.RECOVERED))
    assert len(machine.reports) == 2


async def test_a_full_disk_is_told(machine: Machine) -> None:
    """With the reason why nothing is claimed, and when claiming goes on."""
    low = ["1 GiB is left"]
    intake = Intake(machine.ledger, disk_is_low=lambda: low[0])
    machine.parts = replace(machine.parts, intake=intake)
    async with watched(machine):
        intake.look()
        await seen(lambda: told(machine, News.DISK_LOW))
        assert "1 GiB is left" in told(machine, News.DISK_LOW)[0].text
        low[0] = ""
        intake.look()
        await seen(lambda: told(machine, News.RECOVERED))


class Counted(Line):
    """A queue that tells how much waits in it."""

    count: int | None = 3

    async def depth(self) -> int | None:
        """Tell."""
        return self.count


@asynccontextmanager
async def full(machine: Machine, queue: Line) -> AsyncIterator[tuple[Slot, list[Turn]]]:
    """Give the whole machine away, and have a queue ask for a turn; free it at the end."""
    intake = machine.parts.intake
    slot = await intake.slot(Needs(cores=machine.ledger.total.cores))
    seat, turns = intake.seat(queue), list[Turn]()

    async def ask() -> None:
        turns.append(await intake.turn(seat))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        yield slot, turns
        slot.give_back()
        group.cancel_scope.cancel()


async def test_a_queue_without_room_is_told_once(machine: Machine) -> None:
    """How many wait and what is free, until it had room or turned out to be empty."""
    machine.queue = queue = Counted("local_big", machine.points)
    async with full(machine, queue) as (slot, turns), watched(machine, long=0.0):
        await seen(lambda: told(machine, News.NO_ROOM))
        await anyio.sleep(0.02)
        (report,) = told(machine, News.NO_ROOM)
        assert "local_big: 3 messages" in report.text
        assert "0 cores" in report.text
        slot.give_back()
        await seen(lambda: turns)
        assert told(machine, News.RECOVERED) == []
        machine.parts.intake.nothing(turns[0])
        await seen(lambda: told(machine, News.RECOVERED))


@pytest.mark.parametrize("count", [0, None])
async def test_an_empty_queue_wants_no_room(machine: Machine, count: int | None) -> None:
    """Nor does one of which nobody knows: an alarm that is none is worse than none."""
    queue = Counted("local_empty", machine.points)
    queue.count = count
    machine.queue = queue
    async with full(machine, queue), watched(machine, long=0.0):
        await anyio.sleep(0.02)
    assert machine.reports == []


async def test_getting_room_ends_the_want_of_it(machine: Machine) -> None:
    """A turn alone does not, a message that does not fit does not, a share of the machine does."""
    intake = machine.parts.intake
    seat = intake.seat(machine.queue)
    slot = intake.found(await intake.turn(seat))
    assert slot.grow(Needs(cores=100)) is None
    assert intake.want.longer_than(0.0) == (seat,)
    slot = intake.found(await intake.turn(seat))
    assert slot.grow(Needs(cores=2)) is not None
    assert intake.want.longer_than(0.0) == ()
