"""Response queues of SQS, as far as stand-ins for it go."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import pytest

from runner.errors import Unsupported
from runner.queues.base import Broker
from runner.queues.mailbox import Mailbox
from tests.contracts.mailboxes import MailboxContract
from tests.contracts.queues import Connect
from tests.queues.sqs_case import sqs_broker
from tests.servers.fauxqs import fauxqs_server
from tests.servers.moto_sqs import Sqs
from tests.servers.s3 import S3Server

__all__ = ["fauxqs_server"]

pytestmark = [pytest.mark.anyio, pytest.mark.service("sqs")]


class SqsMailboxContract(MailboxContract):
    """What both stand-ins have in common."""

    ordered = False

    @pytest.fixture
    def server(self) -> Sqs:
        """Return the server."""
        raise NotImplementedError

    @pytest.fixture
    def connect(self, server: Sqs, tmp_path: Path) -> Connect:
        """Open brokers of one account."""
        return partial(sqs_broker, server.credential, tmp_path, lease=5)

    @pytest.fixture
    def name(self) -> str:
        """Return a name of its own."""
        return f"sqs_{uuid.uuid4().hex[:12]}"

    async def test_what_is_no_text_is_refused(self, mailbox: Mailbox) -> None:
        """SQS could not carry it."""
        await mailbox.make()
        with pytest.raises(Unsupported):
            await mailbox.post([b"\xff"])


class TestSqsMailbox(SqsMailboxContract):
    """``runner.queues.sqs.mailbox`` on moto."""

    @pytest.fixture
    def server(self, moto_server: S3Server) -> Sqs:
        """Return moto."""
        return Sqs(moto_server.endpoint)

    async def test_a_fifo_queue_answers_in_its_order(self, broker: Broker) -> None:
        """Its response queue is one, too."""
        mailbox = broker.mailbox(f"sqs_{uuid.uuid4().hex[:12]}.fifo")
        assert mailbox is not None
        assert mailbox.name.endswith("_response.fifo")
        await mailbox.make()
        bodies = [f'{{"time":"{number}"}}'.encode() for number in range(10)]
        await mailbox.post(bodies)
        queue = await broker.open(mailbox.reads)
        found = []
        for _ in bodies:
            delivery = await queue.receive()
            found.append(delivery.message.body)
            await delivery.ack()
        assert found == bodies


class TestSqsMailboxOnFauxqs(SqsMailboxContract):
    """The same on the second stand-in."""

    @pytest.fixture
    def server(self, fauxqs_server: Sqs) -> Sqs:
        """Return fauxqs."""
        return fauxqs_server
