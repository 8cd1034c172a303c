"""What the tests of the Pub/Sub broker share: brokers on a server, and patience."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.model import Bytes
from runner.queues.base import BrokerOptions, Delivery
from runner.queues.choice import Choice
from runner.queues.credential import GoogleCredential
from runner.queues.drawer import Drawer
from runner.queues.pubsub import PubsubBroker
from runner.queues.pubsub.queue import PubsubQueue
from tests.contracts.queues import received
from tests.servers.pubsub import PubsubServer, new_project

LEASE = timedelta(seconds=2)
NAME = "training_sub"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Have the tests of a module share an event loop.

    grpc tells a loop late of calls that were cut off. Told to a loop that is closed by then, it
    fails in whichever loop is running.
    """
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def one_loop() -> None:
    """Keep the loop open between tests."""


@dataclass
class Project:
    """A project of its own on a server, and the brokers of one daemon on it."""

    server: PubsubServer
    directory: Path
    project: str = field(default_factory=new_project)

    def broker(
        self,
        *,
        choice: Choice | None = None,
        queues: tuple[str, ...] = (),
        lease: timedelta = LEASE,
        timeout: timedelta = timedelta(seconds=5),
    ) -> PubsubBroker:
        """Return a broker that looks for queues five times a second."""
        options = BrokerOptions(
            owner="a test",
            choice=choice or Choice(),
            lease=lease,
            refresh=timedelta(seconds=0.2),
            timeout=timeout,
            drawer=Drawer(self.directory / "dead", Bytes(1 << 20)),
        )
        return PubsubBroker(self.credential(queues), options)

    def credential(self, queues: tuple[str, ...] = (), fingerprint: str = "1") -> GoogleCredential:
        """Return what opens the project."""
        return GoogleCredential(
            broker="pubsub",
            scope=self.project,
            origin="lab/key.json",
            fingerprint=fingerprint,
            queues=queues,
            emulator=self.server.address,
        )

    @asynccontextmanager
    async def queue(
        self, *, lease: timedelta = LEASE, **settings: object
    ) -> AsyncIterator[PubsubQueue]:
        """Create a queue with these settings, and open it with a broker of its own."""
        await self.create(NAME, **settings)
        async with self.broker(lease=lease) as broker:
            yield await broker.open(NAME)

    @asynccontextmanager
    async def held(
        self, *, lease: timedelta = LEASE, **settings: object
    ) -> AsyncIterator[tuple[PubsubQueue, Delivery]]:
        """Do the same, and take a message from it; yield the queue and the delivery."""
        async with self.queue(lease=lease, **settings) as queue:
            await queue.publish(b"{}")
            yield queue, await received(queue)

    async def create(self, name: str = NAME, **settings: object) -> None:
        """Create a queue as a client would."""
        await anyio.to_thread.run_sync(lambda: self.server.create(self.project, name, **settings))

    async def delete(self, name: str = NAME) -> None:
        """Delete a queue."""
        await anyio.to_thread.run_sync(lambda: self.server.delete(self.project, name))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - another process is looked at
            await anyio.sleep(0.02)
