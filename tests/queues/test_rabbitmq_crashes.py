"""A runner is killed between any two steps of parking, renewing and settling on RabbitMQ."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.queues.rabbitmq import RabbitBroker
from runner.queues.rabbitmq.queue import RabbitQueue
from tests.contracts.queues import PATIENCE, body_of
from tests.queues import rabbitmq_crashes
from tests.queues.rabbitmq_case import broker_of, declared
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.anyio, pytest.mark.service("rabbitmq")]

ROOT = Path(__file__).parents[2]

#: What is settled how, where it dies, and how many copies come back.
POINTS = {
    "caught, and no queue made for it": ("ack", "before declare 1", 1),
    "an empty queue was made": ("ack", "after declare 1", 1),
    "it is listened to": ("ack", "after consume 1", 1),
    "the copy lies there, the original is not acknowledged": ("ack", "after publish 1", 2),
    "the copy came, the original is not acknowledged": ("ack", "before ack 1", 2),
    "the original is acknowledged, perhaps": ("ack", "before ping 1", None),
    "it is parked": ("ack", "after ping 1", 1),
    "a fresh copy lies beside the old one": ("ack", "after publish 2", 2),
    "the old copy is to be acknowledged": ("ack", "before ack 2", 2),
    "it is about to be forgotten": ("ack", "before delete 1", 1),
    "it is forgotten": ("ack", "after delete 1", 0),
    "the waiting room was made": ("release", "after declare 2", 1),
    "it waits, and is parked still": ("release", "after publish 3", 2),
    "it waits": ("release", "after delete 1", 1),
    "the letter is written, and it is parked still": ("bury", "before delete 1", 1),
}


@pytest.fixture
async def broker(rabbit_server: RabbitServer, tmp_path: Path) -> AsyncIterator[RabbitBroker]:
    """Return a broker of another runner."""
    async with broker_of(rabbit_server, tmp_path, lease=30) as broker:
        yield broker


async def kill(url: str, name: str, verb: str, point: str, directory: Path) -> None:
    """Have a runner take the message, and die."""
    program = [sys.executable, rabbitmq_crashes.__file__]
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            [*program, url, name, verb, point, str(directory)],
            check=False,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


async def came_back(queue: RabbitQueue) -> list[bytes]:
    """Take all that returns within two leases, and somewhat."""
    found: list[bytes] = []
    with anyio.move_on_after(2.5 * rabbitmq_crashes.LEASE):
        while True:
            delivery = await queue.receive()
            with anyio.CancelScope(shield=True):
                found.append(delivery.message.body)
                await delivery.ack()
    return found


async def test_wherever_it_dies_the_message_is_never_nowhere(
    rabbit_server: RabbitServer, broker: RabbitBroker, tmp_path: Path
) -> None:
    """What is not acknowledged comes back by itself; a second copy is the worst that happens."""
    found: dict[str, int | None] = {}
    at_once = anyio.CapacityLimiter(3)

    async def try_out(number: int, what: str) -> None:
        verb, point, copies = POINTS[what]
        name = await anyio.to_thread.run_sync(declared, rabbit_server)
        queue = await broker.open(name)
        await queue.publish(body_of(number))
        async with at_once:
            await kill(rabbit_server.url, name, verb, point, tmp_path / str(number))
        bodies = await came_back(queue)
        assert set(bodies) <= {body_of(number)}
        found[what] = None if copies is None and bodies else len(bodies)

    async with anyio.create_task_group() as group:
        for number, what in enumerate(POINTS):
            group.start_soon(try_out, number, what)
    assert found == {what: copies for what, (_, _, copies) in POINTS.items()}
