"""A puller asks with room in hand, pauses after trouble, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import structlog.testing

from runner.errors import QueueDenied, QueueUnavailable
from runner.lifecycle.claiming.suspension import OPERATOR, Intent
from runner.lifecycle.sources.echo import Echo
from runner.lifecycle.sources.pauses import Pauses
from runner.lifecycle.sources.pulling import Puller
from runner.lifecycle.sources.trust import Trust
from runner.model import News, Outcome
from runner.queues.base import Delivery
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, TOTAL, Line, Machine, Points, seen

pytestmark = pytest.mark.anyio


class Curt(Line):
    """A queue whose broker answers at once that there is nothing."""

    tells = False

    def __init__(self, points: Points) -> None:
        super().__init__("local_curt", points)
        self.asked = 0

    async def take(self) -> Delivery | None:
        """Find nothing."""
        self.asked += 1
        return None


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts, with room for two."""
    async with Machine.open(Box(tmp_path)) as machine:
        machine.queue.tells = False
        yield machine


@asynccontextmanager
async def pulling(
    machine: Machine, queue: Line, chance: float = 0.5, echo: Echo | None = None
) -> AsyncIterator[Puller]:
    """Pull beside the block; what is taken is handled in the same group."""
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:

            async def see_through(work: Callable[[], Awaitable[Outcome]]) -> None:
                await work()

            def start(work: Callable[[], Awaitable[Outcome]]) -> None:
                group.start_soon(see_through, work)

            limit = anyio.Semaphore(100)
            pauses = Pauses(chance=lambda: chance)
            puller = Puller(
                machine.parts, queue, Trust(), limit, start, pauses=pauses, echo=echo or Echo()
            )
            group.start_soon(puller.pull)
            yield puller
            group.cancel_scope.cancel()


async def test_a_refusal_is_said_once_and_costs_no_room(machine: Machine) -> None:
    """The sentence of the broker reaches the operator; the machine is there for other queues."""
    machine.points.raises("receive", QueueDenied("sqs:ReceiveMessage is missing"))
    async with pulling(machine, machine.queue):
        await seen(lambda: machine.reports)
        assert machine.ledger.held == 0
    (report,) = machine.reports
    assert report.news is News.WARNING
    assert "sqs:ReceiveMessage is missing" in report.text
    assert machine.queue.name in report.text


async def test_news_in_two_watched_queues_for_one_slot_loses_nothing(tmp_path: Path) -> None:
    """The second message waits in hand until the first has ended, and is received once."""
    async with Machine.open(Box(tmp_path), total=replace(TOTAL, cores=1)) as machine:
        other = Line("local_other", machine.points)
        machine.queue.tells = other.tells = False
        machine.queue.glance = other.glance = 0.01
        async with (
            anyio.create_task_group() as group,
            pulling(machine, machine.queue),
            pulling(machine, other),
        ):
            group.start_soon(machine.parts.intake.keep_looking)
            await seen(lambda: machine.points.passed.count("receive") == 2)
            await seen(lambda: machine.ledger.held == 0)
            for queue in (machine.queue, other):
                queue.send(machine.box.message("print('x')"))
            await seen(lambda: machine.ends == ["completed"] * 2)
            await seen(lambda: machine.ledger.held == 0)
            group.cancel_scope.cancel()
        assert machine.queue.settlements == other.settlements == ["ack"]
        await machine.check_clean()


async def test_after_trouble_a_queue_works_again(machine: Machine) -> None:
    """A message that waits is taken at the next attempt."""
    machine.points.raises("receive", QueueUnavailable("away"))
    machine.queue.send(machine.box.message("print('x')"))
    async with pulling(machine, machine.queue):
        await seen(lambda: machine.ends == ["completed"])


async def test_one_lost_connection_is_one_warning(machine: Machine) -> None:
    """However many queues of the account it was the connection of, whatever each calls itself."""
    echo = Echo()
    lines = [Line(f"rmq_{number}", Points(), broker="rabbitmq") for number in range(20)]
    with structlog.testing.capture_logs() as logged:
        async with AsyncExitStack() as stack:
            for line in lines:
                line.tells = False
                trouble = QueueUnavailable(f"queue {line.name}: the connection has ended")
                line.points.raises("receive", trouble)
                await stack.enter_async_context(pulling(machine, line, echo=echo))
            await seen(lambda: sum(one["event"] == "no message" for one in logged) == len(lines))
    loud = [one for one in logged if one["log_level"] == "warning"]
    assert len(loud) == 1


async def test_a_broker_that_answers_at_once_is_no_busy_loop(machine: Machine) -> None:
    """Whatever a backend does with its patience, an empty queue is asked once in a second."""
    queue = Curt(machine.points)
    async with pulling(machine, queue):
        await seen(lambda: queue.asked)
        for _ in range(1000):
            await anyio.lowlevel.checkpoint()
        assert queue.asked == 1
        assert machine.ledger.held == 0


async def test_what_an_open_receive_brings_while_the_daemon_ends_goes_back(
    machine: Machine,
) -> None:
    """It is released at once, and nothing of it is started."""
    async with pulling(machine, machine.queue):
        await seen(lambda: "receive" in machine.points.passed)
        machine.parts.intake.close()
        machine.queue.send(machine.box.message("print('x')"))
        await seen(lambda: machine.queue.settlements)
    assert machine.queue.settlements == ["release"]
    assert machine.ends == []
    await machine.check_clean()


async def test_what_an_open_receive_brings_while_claiming_is_suspended_goes_back(
    machine: Machine,
) -> None:
    """At once too; and the queue is asked again when that is over."""
    suspension = machine.parts.intake.suspension
    async with pulling(machine, machine.queue):
        await seen(lambda: "receive" in machine.points.passed)
        suspension.wish(OPERATOR, Intent.SUSPEND)
        machine.queue.send(machine.box.message("print('x')"))
        await seen(lambda: machine.queue.settlements == ["release"])
        assert machine.ledger.held == 0
        suspension.wish(OPERATOR, Intent.RUNNING)
        await seen(lambda: machine.queue.settlements == ["release", "ack"])


async def test_a_puller_that_is_cancelled_holds_neither_message_nor_room(machine: Machine) -> None:
    """Wherever it was."""
    async with pulling(machine, machine.queue):
        await seen(lambda: "receive" in machine.points.passed)
    assert machine.ledger.held == 0
    seat = machine.parts.intake.seat(machine.queue)
    with anyio.fail_after(PATIENCE):
        machine.parts.intake.nothing(await machine.parts.intake.turn(seat))
    await machine.check_clean()


async def test_a_disk_that_takes_no_record_costs_neither_queue_nor_attempts(
    machine: Machine,
) -> None:
    """However often that happened; the queue is served again as soon as the disk is mended."""
    records, away = machine.parts.records.directory, machine.box.root / "away"
    records.rename(away)
    for number in range(5):
        machine.queue.send(machine.box.message(f"print({number})"))
    async with pulling(machine, machine.queue):
        await seen(lambda: len(machine.queue.settlements) > 40)  # far more than attempts
        away.rename(records)
        await seen(lambda: machine.ends.count("completed") == 5)
        await seen(lambda: not machine.parts.board)
    given_back = [one for one in machine.queue.letters if one.settled == ["release"]]
    assert all(one.delay for one in given_back)
    assert set(machine.queue.settlements) == {"release", "ack"}
    await machine.check_clean()
