"""An operator's day with a real RabbitMQ."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.acceptance.operators_day import Account, OperatorsDay
from tests.servers.rabbitmq import RabbitServer

pytestmark = pytest.mark.anyio


class RabbitAccount:
    """A user of a real RabbitMQ."""

    variables: Mapping[str, str] = MappingProxyType({})

    def __init__(self, server: RabbitServer) -> None:
        self.server = server
        self.queue, self.other = (f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("rmq", "theirs"))
        server.declare(self.queue)
        server.declare(self.other)
        self._publish(self.other, '{"not": "yours"}')
        self._user = server.user("first-password")
        self._writes = 0

    def write(self, directory: Path) -> None:
        """See ``Account``."""
        self._writes += 1
        directory.mkdir(parents=True, exist_ok=True)
        password = f"password-number-{self._writes}"
        self.server.set_password(self._user, password)
        file = directory / "url"
        file.touch(0o600)
        file.write_text(
            f"{self.server.url_for(self._user, password)}\n{self.server.management_url}\n"
        )

    def send(self, body: str) -> None:
        """See ``Account``."""
        self._publish(self.queue, body)

    def waiting(self) -> int:
        """See ``Account``: the management interface tells late, so we look at the queue."""
        return len(self._look(self.queue))

    def theirs(self) -> list[int]:
        """See ``Account``: a message that was handed out and came back says so."""
        return [int(one["redelivered"]) for one in self._look(self.other)]

    def _publish(self, queue: str, body: str) -> None:
        what = {"payload": body, "payload_encoding": "string", "properties": {}}
        key = {"routing_key": f"StudioML.{queue}"}
        self.server.ask("POST", "exchanges/%2F/StudioML.topic/publish", {**what, **key})

    def _look(self, queue: str) -> list[dict[str, bool]]:
        wanted = {"count": 9, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return list(self.server.ask("POST", f"queues/%2F/{queue}/get", wanted))


@pytest.mark.service("rabbitmq")
class TestRabbit(OperatorsDay):
    """With a real RabbitMQ."""

    @pytest.fixture
    def account(self, rabbit_server: RabbitServer) -> Account:
        """Return a user of it."""
        return RabbitAccount(rabbit_server)
