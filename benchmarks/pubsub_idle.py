"""What Pub/Sub costs that has nothing to tell: 200 subscriptions waited for, and the pickup.

The broker alone, in a process of its own, on Google's emulator (or the tests' fake, with
``--fake``): resident memory, processor time, threads, connections. Receives are
cut off and begun again every 20 s, as the daemon does. Then publish to held, one message at a time,
beside the round trips that this takes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import psutil

from tests.queues.pubsub_case import NAME, Project
from tests.servers.pubsub import PubsubServer, emulator, fake

QUEUES = 200
#: Every pull ends and is opened again in this time.
SECONDS = 100.0
MESSAGES = 50
_PATIENCE = 20.0


class _Known(PubsubServer):
    """A server that another process started."""

    def __init__(self, port: int) -> None:
        self.port = port

    def create(self, project: str, name: str, **settings: object) -> None:
        """Not needed here."""

    def delete(self, project: str, name: str) -> None:
        """Not needed here."""


def main() -> None:
    """Measure and print."""
    running = fake if "--fake" in sys.argv else emulator
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        project = Project(server, Path(name))
        for number in range(QUEUES):
            server.create(project.project, f"queue{number}_sub")
        server.create(project.project, NAME)
        command = [sys.executable, __file__, "wait", str(server.port), project.project, name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline().strip() == "waiting"
            time.sleep(5)
            _print(psutil.Process(waiting.pid), server.port)
            waiting.kill()
        anyio.run(_pickup, project)


async def _wait(project: Project) -> None:
    """Receive from all queues, over and over."""

    async def receive(name: str) -> None:
        queue = await broker.open(name)
        while True:
            with anyio.move_on_after(_PATIENCE):
                await queue.receive()

    async with project.broker() as broker, anyio.create_task_group() as group:
        for number in range(QUEUES):
            group.start_soon(receive, f"queue{number}_sub")
        await anyio.sleep(5)
        print("waiting", flush=True)


def _print(process: psutil.Process, port: int) -> None:
    before = process.cpu_times()
    time.sleep(SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    connections = [one for one in process.net_connections() if one.raddr[1:] == (port,)]
    print(
        f"{QUEUES} subscriptions   resident {process.memory_info().rss / 1e6:5.1f} MB   "
        f"{used / SECONDS * 100:.3f} % of a core   {process.num_threads()} threads   "
        f"{len(connections)} connections"
    )


async def _pickup(project: Project) -> None:
    """Print how long a message takes from its publishing until it is held."""
    took, trips = [], []
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        for _ in range(MESSAGES):
            begun = time.perf_counter()
            await broker.exists(NAME)
            trips.append(time.perf_counter() - begun)
            async with anyio.create_task_group() as group:

                async def publish() -> None:
                    await anyio.sleep(0.1)
                    nonlocal begun
                    begun = time.perf_counter()
                    await queue.publish(b"{}")

                group.start_soon(publish)
                delivery = await queue.receive()
                took.append(time.perf_counter() - begun)
            await delivery.ack()
    print(
        f"publish to held   median {statistics.median(took) * 1000:.1f} ms   "
        f"worst {max(took) * 1000:.1f} ms   "
        f"one round trip {statistics.median(trips) * 1000:.1f} ms"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["wait"]:
        _, _, given_port, given_project, directory = sys.argv
        waited = Project(_Known(int(given_port)), Path(directory), given_project)
        anyio.run(_wait, waited)
    else:
        main()
