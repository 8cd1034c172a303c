"""The SQS broker keeps the promises of every broker, as far as a stand-in for SQS lets it."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from runner.queues.sqs import SqsBroker
from tests.contracts.queues import Connect, QueueContract
from tests.queues.sqs_case import sqs_broker
from tests.servers.fauxqs import fauxqs_server
from tests.servers.moto_sqs import Sqs
from tests.servers.s3 import S3Server

__all__ = ["fauxqs_server"]

pytestmark = [pytest.mark.anyio, pytest.mark.service("sqs")]


class SqsContract(QueueContract):
    """What both stand-ins have in common."""

    backend = SqsBroker.name
    #: Standard queues give their best.
    ordered = False
    #: Receiving is the one way to learn of a message.
    tells_readiness = False
    quiet = 0.5

    @pytest.fixture
    def server(self) -> Sqs:
        """Return the server."""
        raise NotImplementedError

    @pytest.fixture
    def connect(self, server: Sqs, tmp_path: Path) -> Connect:
        """Open brokers of one account; all see the same drawer."""
        self._server = server
        return partial(sqs_broker, server.credential, tmp_path, lease=1)

    @pytest.fixture
    def patient(self, server: Sqs, tmp_path: Path) -> Connect:
        """Open brokers that have time."""
        self._server = server
        return partial(sqs_broker, server.credential, tmp_path, lease=2)

    @pytest.fixture
    def name(self) -> str:
        """Return a name of its own: deleted queues stay names for a minute."""
        return f"sqs_{uuid.uuid4().hex[:12]}"

    async def create(self, name: str) -> None:
        """Create a queue with the attributes that clients leave."""
        await anyio.to_thread.run_sync(self._server.create, name)

    async def delete(self, name: str) -> None:
        """Delete the queue."""
        await anyio.to_thread.run_sync(self._server.delete, name)


class TestSqsQueue(SqsContract):
    """``runner.queues.sqs`` on moto."""

    #: moto takes every receipt that a message ever had; at AWS the newest alone counts. What the
    #: lease's own end tells is told nevertheless.
    refuses_old_tokens = False

    @pytest.fixture
    def server(self, moto_server: S3Server) -> Sqs:
        """Return moto."""
        return Sqs(moto_server.endpoint)


class TestSqsQueueOnFauxqs(SqsContract):
    """The same on a server whose receipts grow old."""

    @pytest.fixture
    def server(self, fauxqs_server: Sqs) -> Sqs:
        """Return fauxqs."""
        return fauxqs_server
