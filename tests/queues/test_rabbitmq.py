"""RabbitMQ keeps the promises of every broker."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from runner.queues.rabbitmq import RabbitBroker
from tests.contracts.queues import Connect, QueueContract
from tests.queues.rabbitmq_case import broker_of
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.anyio, pytest.mark.service("rabbitmq")]


class TestRabbitQueue(QueueContract):
    """``runner.queues.rabbitmq`` with a broker where queues may be made."""

    backend = RabbitBroker.name

    @pytest.fixture
    def connect(self, rabbit_server: RabbitServer, tmp_path: Path) -> Connect:
        """Open brokers on one virtual host, each with a connection of its own."""
        self._server = rabbit_server
        return partial(broker_of, rabbit_server, tmp_path, lease=1.0)

    @pytest.fixture
    def patient(self, rabbit_server: RabbitServer, tmp_path: Path) -> Connect:
        """Open brokers that have time."""
        self._server = rabbit_server
        return partial(broker_of, rabbit_server, tmp_path, lease=2.0)

    @pytest.fixture
    def name(self) -> str:
        """Return a queue of a StudioML client's naming."""
        return f"rmq_{secrets.token_hex(4)}"

    async def create(self, name: str) -> None:
        """Declare and bind, not durable."""
        await anyio.to_thread.run_sync(self._server.declare, name)

    async def delete(self, name: str) -> None:
        """Delete the queue."""
        await anyio.to_thread.run_sync(self._server.delete, name)
