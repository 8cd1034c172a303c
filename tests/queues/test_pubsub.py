"""The Pub/Sub broker keeps the promises of every broker: on Google's emulator, and on a fake."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from runner.queues.pubsub import PubsubBroker
from tests.contracts.queues import Connect, QueueContract
from tests.queues.pubsub_case import NAME, Project, anyio_backend, one_loop
from tests.servers.pubsub import Emulator, FakeServer

__all__ = ["anyio_backend", "one_loop"]

pytestmark = pytest.mark.anyio


class PubsubContract(QueueContract):
    """What both have in common."""

    backend = PubsubBroker.name
    #: Pub/Sub promises an order only to subscriptions with ordering keys.
    ordered = False
    #: Only a dead letter policy makes it count, see ``test_pubsub_settling.py``.
    counts_receives = False
    #: The number of waiting messages is known to Cloud Monitoring, minutes later.
    tells_depth = False
    tells_readiness = False
    project: Project

    @pytest.fixture
    def connect(self) -> Connect:
        """Open brokers on the same project."""
        return partial(self.project.broker, lease=timedelta(seconds=1))

    @pytest.fixture
    def patient(self) -> Connect:
        """Open brokers that have time."""
        return partial(self.project.broker, lease=timedelta(seconds=3))

    @pytest.fixture
    def name(self) -> str:
        """Return a subscription as a client names it."""
        return NAME

    async def create(self, name: str) -> None:
        """Make topic and subscription."""
        await self.project.create(name)

    async def delete(self, name: str) -> None:
        """Delete the subscription."""
        await self.project.delete(name)


@pytest.mark.service("pubsub")
class TestOnTheEmulator(PubsubContract):
    """Google's emulator."""

    @pytest.fixture(autouse=True)
    def on_server(self, pubsub_emulator: Emulator, tmp_path: Path) -> None:
        """Use a new project."""
        self.project = Project(pubsub_emulator, tmp_path)


class TestOnTheFake(PubsubContract):
    """The tests' own server."""

    @pytest.fixture(autouse=True)
    def on_server(self, pubsub_fake: FakeServer, tmp_path: Path) -> None:
        """Use a new project."""
        self.project = Project(pubsub_fake, tmp_path)
