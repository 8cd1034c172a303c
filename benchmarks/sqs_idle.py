"""What queues of SQS cost that have nothing in them: one open poll each, of 20 seconds.

Processor time of this process over three rounds of polls, memory, threads, connections; the server
is another process. One queue, then two hundred, so that the growth can be seen; then how long a
message takes from being sent to being received while all the others poll.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import anyio
import psutil

from runner.model import Bytes
from runner.queues.base import BrokerOptions, Queue
from runner.queues.choice import Choice
from runner.queues.drawer import Drawer
from runner.queues.sqs import SqsBroker
from tests.servers.moto import running
from tests.servers.moto_sqs import Sqs

SECONDS = 60.0
MESSAGES = 20


async def measure(server: Sqs, queues: int, directory: Path) -> None:
    """Print what so many idle queues cost, and how fast one of them is."""
    names = [f"sqs_idle{number}" for number in range(queues)]
    for name in names:
        server.create(name)
    options = BrokerOptions(
        owner="a benchmark",
        choice=Choice(re.compile("^sqs_idle")),
        lease=timedelta(seconds=60),
        refresh=timedelta(seconds=60),
        timeout=timedelta(seconds=15),
        drawer=Drawer(directory, Bytes(1 << 20)),
    )
    async with SqsBroker(server.credential, options) as broker, anyio.create_task_group() as group:
        measured, *others = [await broker.open(name) for name in names]
        for queue in others:
            group.start_soon(_follow, queue)
        async with anyio.create_task_group() as first:
            first.start_soon(_follow, measured)
            await anyio.sleep(5)
            await _cost(queues)
            first.cancel_scope.cancel()
        await _latency(server, measured)
        group.cancel_scope.cancel()


async def _follow(queue: Queue) -> None:
    while True:
        await queue.take()


async def _cost(queues: int) -> None:
    process = psutil.Process()
    before = process.cpu_times()
    await anyio.sleep(SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    polls = queues * SECONDS / 20
    print(
        f"{queues:4} idle queues   {used / SECONDS * 100:5.2f} % of a core   "
        f"{used / polls * 1000:4.2f} ms a poll   resident {process.memory_info().rss / 1e6:5.1f} MB"
        f"   {process.num_threads()} threads   {len(process.net_connections('tcp'))} connections"
    )


async def _latency(server: Sqs, queue: Queue) -> None:
    took = []
    for _ in range(MESSAGES):
        sent: list[float] = []

        def send() -> None:
            server.send(queue.name, "{}")
            sent.append(time.perf_counter())  # noqa: B023 - called before the next turn

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, send)
            delivery = await queue.receive()
            received = time.perf_counter()
        took.append((received - sent[0]) * 1000)
        await delivery.ack()
    median, worst = statistics.median(took), max(took)
    print(f"     sent to received: median {median:.0f} ms, worst {worst:.0f} ms")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as moto:
        server = Sqs(moto.endpoint)
        for queues in (1, 200):
            anyio.run(measure, server, queues, Path(directory) / "dead")


if __name__ == "__main__":
    main()
