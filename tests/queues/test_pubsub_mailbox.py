"""Response topics of Pub/Sub, on Google's emulator and on a fake."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from runner.queues.base import Broker
from runner.queues.mailbox import Mailbox
from tests.contracts.mailboxes import MailboxContract
from tests.contracts.queues import Connect
from tests.queues.pubsub_case import NAME, Project, anyio_backend, one_loop
from tests.servers.pubsub import Emulator, FakeServer

__all__ = ["anyio_backend", "one_loop"]

pytestmark = pytest.mark.anyio


class PubsubMailboxContract(MailboxContract):
    """What both have in common."""

    ordered = False
    project: Project

    @pytest.fixture
    def connect(self) -> Connect:
        """Open brokers on the same project."""
        return partial(self.project.broker, lease=timedelta(seconds=10))

    @pytest.fixture
    def name(self) -> str:
        """Return a subscription as a client names it."""
        return NAME

    async def test_readers_do_not_take_from_each_other(
        self, broker: Broker, mailbox: Mailbox
    ) -> None:
        """Who makes a subscription of the topic's gets all that is posted from then on."""
        await mailbox.make()
        topic = f"projects/{self.project.project}/topics/{mailbox.name}"
        await self.project.create("mine", topic=topic)
        await mailbox.post([b'{"time":"1"}'])
        assert await self.taken(broker, mailbox, 1) == [b'{"time":"1"}']
        delivery = await (await broker.open("mine")).receive()
        assert delivery.message.body == b'{"time":"1"}'
        await delivery.ack()


@pytest.mark.service("pubsub")
class TestOnTheEmulator(PubsubMailboxContract):
    """Google's emulator."""

    @pytest.fixture(autouse=True)
    def on_server(self, pubsub_emulator: Emulator, tmp_path: Path) -> None:
        """Use a new project."""
        self.project = Project(pubsub_emulator, tmp_path)


class TestOnTheFake(PubsubMailboxContract):
    """The tests' own server."""

    @pytest.fixture(autouse=True)
    def on_server(self, pubsub_fake: FakeServer, tmp_path: Path) -> None:
        """Use a new project."""
        self.project = Project(pubsub_fake, tmp_path)
