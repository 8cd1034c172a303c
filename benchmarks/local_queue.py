"""What local queues cost: pickup from idle, a claim among many, and an idle broker of 20 queues.

Run ``python benchmarks/local_queue.py``; takes about half a minute.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import anyio
import psutil

from runner.queues.base import Broker, Queue
from runner.queues.choice import Choice
from runner.queues.local import LocalBroker

BODY = b'{"experiment": {"key": "benchmark"}, "config": {}}'
PICKUPS = 300
CLAIMS = 90
FEW, MANY = 100, 10_000
QUEUES = 20
IDLE = 20.0


def broker(root: Path) -> AbstractAsyncContextManager[Broker]:
    """Return a broker with the times of a daemon."""
    return LocalBroker(
        root,
        choice=Choice(re.compile("^local")),
        lease=timedelta(seconds=60),
        owner="benchmark",
        poll=timedelta(seconds=10),
    )


def write_in_place(directory: Path) -> None:
    """Send as a StudioML 0.0.49 client does, its lock included."""
    lock = directory / "lock.lock"
    lock.touch(exist_ok=False)
    (directory / str(uuid.uuid4())).write_bytes(BODY)
    lock.unlink()


def rename_into(directory: Path) -> None:
    """Send as a publisher that writes elsewhere first."""
    draft = directory / f".{uuid.uuid4()}"
    draft.write_bytes(BODY)
    draft.rename(directory / str(uuid.uuid4()))


async def pickups(queue: Queue, directory: Path, send: Callable[[Path], None]) -> list[float]:
    """Return milliseconds from sending to holding, the queue being idle before each message."""
    found: list[float] = []
    for _ in range(PICKUPS):
        sent: list[float] = []

        def work(times: list[float] = sent) -> None:
            time.sleep(0.01)  # the receive below waits by then
            times.append(time.perf_counter())
            send(directory)

        sender = threading.Thread(target=work)
        sender.start()
        delivery = await queue.receive()
        found.append((time.perf_counter() - sent[0]) * 1000)
        await delivery.ack()
        sender.join()
    return found


async def claims(root: Path, waiting: int) -> list[float]:
    """Return milliseconds of a receive and its ack while ``waiting`` messages wait."""
    directory = root / f"local_{waiting}"
    directory.mkdir()
    for _ in range(waiting):
        (directory / str(uuid.uuid4())).write_bytes(BODY)
    found: list[float] = []
    async with broker(root) as opened:
        queue = await opened.open(directory.name)
        await (await queue.receive()).ack()
        for _ in range(CLAIMS):
            began = time.perf_counter()
            await (await queue.receive()).ack()
            found.append((time.perf_counter() - began) * 1000)
    return found


async def idle(root: Path) -> None:
    """Print what a broker costs that waits on 20 queues."""
    process = psutil.Process()
    for number in range(QUEUES):
        (root / f"local_{number}").mkdir(exist_ok=True)
    async with broker(root) as opened, anyio.create_task_group() as group:
        for number in range(QUEUES):
            queue = await opened.open(f"local_{number}")
            group.start_soon(queue.receive)
        await anyio.sleep(12)  # worker threads end after 10 s without work
        before = time.process_time()
        await anyio.sleep(IDLE)
        used = (time.process_time() - before) / IDLE
        memory = process.memory_info().rss / 1e6
        print(
            f"idle, {QUEUES} queues: {used:.3%} of a core, {memory:.0f} MB resident, "
            f"{process.num_threads()} threads"
        )
        group.cancel_scope.cancel()


def spread(times: list[float]) -> str:
    """Return median and 99th percentile."""
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms"


async def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        async with broker(root) as opened:
            (root / "local_pickup").mkdir()
            queue = await opened.open("local_pickup")
            for send in (write_in_place, rename_into):
                times = await pickups(queue, root / "local_pickup", send)
                print(f"pickup from idle, {send.__name__}: {spread(times)}")
        for waiting in (FEW, MANY):
            print(f"receive and ack, {waiting} waiting: {spread(await claims(root, waiting))}")
    with tempfile.TemporaryDirectory() as name:
        await idle(Path(name))


if __name__ == "__main__":
    anyio.run(main)
