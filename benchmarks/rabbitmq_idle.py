"""What two hundred idle queues of RabbitMQ cost a daemon, and how soon a message is picked up.

A real broker is started. Every queue is waited on as the daemon does it, with no message anywhere:
processor time over half a minute, threads, memory, connections and channels. Then messages are
published over the same connection, each to one of the queues, and from another process's view of
the broker timed against a bare consumer of the same library.
"""

from __future__ import annotations

import logging
import re
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import aiormq
import aiormq.abc
import anyio
import anyio.to_thread
import psutil

from runner.model import Bytes
from runner.queues.base import BrokerOptions, Queue
from runner.queues.choice import Choice
from runner.queues.credential import AmqpCredential
from runner.queues.drawer import Drawer
from runner.queues.rabbitmq import RabbitBroker
from runner.redaction import Secret
from tests.servers.rabbitmq import RabbitServer

QUEUES = 200
SECONDS = 30.0
MESSAGES = 50


def main() -> None:
    """Measure and print."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        server = RabbitServer(Path(directory))
        with server.running():
            for number in range(QUEUES):
                server.declare(f"rmq_{number}")
            anyio.run(_measure, server, Path(directory))


async def _measure(server: RabbitServer, directory: Path) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    credential = AmqpCredential(
        broker="rabbitmq",
        scope="benchmark",
        origin="benchmark",
        fingerprint="",
        url=Secret(server.url),
        management_url=Secret(server.management_url),
    )
    options = BrokerOptions(
        owner="benchmark",
        choice=Choice(re.compile("^rmq")),
        lease=timedelta(seconds=60),
        refresh=timedelta(seconds=30),
        timeout=timedelta(seconds=20),
        drawer=Drawer(directory / "drawer", Bytes(1 << 20)),
    )
    async with RabbitBroker(credential, options) as broker, anyio.create_task_group() as group:
        group.start_soon(_discover, broker)
        queues = [await broker.open(f"rmq_{number}") for number in range(QUEUES)]
        began = time.perf_counter()
        for queue in queues:
            group.start_soon(queue.ready)
        await _until_listening(server)
        print(f"listening to {QUEUES} queues after {time.perf_counter() - began:.2f} s")
        await _idle(process, before, server)
        group.cancel_scope.cancel()
    async with RabbitBroker(credential, options) as broker:
        await _pickup(broker, server)


async def _discover(broker: RabbitBroker) -> None:
    async for _ in broker.discover():
        pass


async def _until_listening(server: RabbitServer) -> None:
    while True:
        found = await anyio.to_thread.run_sync(lambda: server.ask("GET", "consumers/%2F"))
        if len(found) >= QUEUES:
            return
        await anyio.sleep(0.2)


async def _idle(process: psutil.Process, before: int, server: RabbitServer) -> None:
    begun = process.cpu_times()
    await anyio.sleep(SECONDS)
    ended = process.cpu_times()
    used = ended.user + ended.system - begun.user - begun.system
    connections = server.ask("GET", "connections")
    channels = sum(one.get("channels", 0) for one in connections)
    print(
        f"idle: {used / SECONDS * 100:.3f} % of a core   {process.num_threads()} threads   "
        f"{len(connections)} connection, {channels} channels   "
        f"resident {process.memory_info().rss / 1e6:.0f} MB, "
        f"of which the queues {(process.memory_info().rss - before) / 1e6:.1f} MB"
    )


async def _pickup(broker: RabbitBroker, server: RabbitServer) -> None:
    queue = await broker.open("rmq_0")
    await queue.publish(b"{}")
    await (await queue.receive()).ack()
    ours = [await _one(queue) for _ in range(MESSAGES)]
    bare = await _bare(server)
    for name, taken in (("publish to held", ours), ("bare publish to consumer", bare)):
        milliseconds = sorted(1000 * one for one in taken)
        print(
            f"{name:26} median {statistics.median(milliseconds):6.2f} ms   "
            f"95 % {milliseconds[int(0.95 * len(milliseconds))]:6.2f} ms"
        )


async def _one(queue: Queue) -> float:
    """Return the seconds from a publish, which includes its confirmation, to a held message."""
    begun = 0.0
    taken = 0.0

    async def take() -> None:
        nonlocal taken
        await queue.ready()
        delivery = await queue.receive()
        taken = time.perf_counter()
        await delivery.ack()

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.sleep(0.1)
        begun = time.perf_counter()
        await queue.publish(b'{"experiment": {}}')  # type: ignore[attr-defined]  # it is one of ours
    return taken - begun


async def _bare(server: RabbitServer) -> list[float]:
    """Time the library alone: one consumer that is always there, nothing parked."""
    arrived = anyio.Event()

    async def note(message: aiormq.abc.DeliveredMessage) -> None:
        nonlocal arrived
        await message.channel.basic_ack(message.delivery_tag or 0)
        arrived.set()

    connection = await aiormq.connect(server.url)
    channel = await connection.channel()
    await channel.basic_consume("rmq_1", note)
    found = []
    for _ in range(MESSAGES):
        arrived = anyio.Event()
        await anyio.sleep(0.1)
        begun = time.perf_counter()
        await channel.basic_publish(b'{"experiment": {}}', routing_key="rmq_1")
        await arrived.wait()
        found.append(time.perf_counter() - begun)
    await connection.close()
    return found


if __name__ == "__main__":
    main()
