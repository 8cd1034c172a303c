"""Response queues of RabbitMQ, as the original uses them."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from runner.errors import QueueDenied, QueueGone, QueueUnavailable
from runner.queues.base import Broker
from runner.queues.mailbox import Mailbox
from runner.queues.rabbitmq import RabbitBroker
from tests.contracts.mailboxes import MailboxContract
from tests.contracts.queues import Connect
from tests.queues.rabbitmq_case import broker_of, credential, options
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.anyio, pytest.mark.service("rabbitmq")]


def _url(server: RabbitServer, user: str) -> str:
    return f"amqp://{user}:word@127.0.0.1:{server.port}/%2f"


class TestRabbitMailbox(MailboxContract):
    """``runner.queues.rabbitmq.mailbox``."""

    @pytest.fixture
    def connect(self, rabbit_server: RabbitServer, tmp_path: Path) -> Connect:
        """Open brokers on one virtual host."""
        return partial(broker_of, rabbit_server, tmp_path)

    @pytest.fixture
    def name(self) -> str:
        """Return a queue of a StudioML client's naming."""
        return f"rmq_{secrets.token_hex(4)}"

    async def test_reports_go_through_the_exchange(
        self, broker: Broker, mailbox: Mailbox, rabbit_server: RabbitServer
    ) -> None:
        """Whoever binds a queue of their own to the key gets a copy: the original's way."""
        await mailbox.make()
        mine, key = f"mine_{secrets.token_hex(4)}", f"StudioML.{mailbox.name}"

        def bind() -> None:
            rabbit_server.ask("PUT", f"queues/%2F/{mine}", {})
            place = f"bindings/%2F/e/StudioML.topic/q/{mine}"
            rabbit_server.ask("POST", place, {"routing_key": key})

        await anyio.to_thread.run_sync(bind)
        await mailbox.post([b'{"time":"1"}'])
        assert await self.taken(broker, mailbox, 1) == [b'{"time":"1"}']
        delivery = await (await broker.open(mine)).receive()
        assert delivery.message.body == b'{"time":"1"}'
        await delivery.ack()

    async def test_a_queue_that_is_bound_to_nothing_gets_them_as_well(
        self, broker: Broker, mailbox: Mailbox, rabbit_server: RabbitServer
    ) -> None:
        """It exists, which is all that is asked of it."""

        def declare() -> None:
            rabbit_server.ask("PUT", f"queues/%2F/{mailbox.name}", {"durable": True})

        await anyio.to_thread.run_sync(declare)
        await mailbox.post([b'{"time":"1"}', b'{"time":"2"}'])
        assert await self.taken(broker, mailbox, 2) == [b'{"time":"1"}', b'{"time":"2"}']

    async def test_a_queue_that_is_full_is_waited_for(
        self, mailbox: Mailbox, rabbit_server: RabbitServer
    ) -> None:
        """Where its owner bounds it: it is there, and may take more later."""
        bounds = {"x-max-length": 1, "x-overflow": "reject-publish"}

        def declare() -> None:
            queue = {"durable": True, "arguments": bounds}
            rabbit_server.ask("PUT", f"queues/%2F/{mailbox.name}", queue)

        await anyio.to_thread.run_sync(declare)
        with pytest.raises(QueueUnavailable) as caught:
            await mailbox.post([b'{"time":"1"}'] * 5)
        assert not isinstance(caught.value, QueueGone)

    async def test_without_the_right_to_write_it_is_said(
        self, rabbit_server: RabbitServer, tmp_path: Path, mailbox: Mailbox, name: str
    ) -> None:
        """Not as a queue that is missing: an operator can mend it."""
        await mailbox.make()
        user = await anyio.to_thread.run_sync(
            lambda: rabbit_server.user("word", write="^nothing$", configure="^nothing$")
        )
        own = credential(_url(rabbit_server, user), management=rabbit_server.management_url)
        async with RabbitBroker(own, options(tmp_path)) as poor:
            with pytest.raises(QueueDenied):
                await poor.mailbox(name).post([b"{}"])

    async def test_the_rights_of_a_runner_are_enough(
        self,
        rabbit_server: RabbitServer,
        tmp_path: Path,
        broker: Broker,
        mailbox: Mailbox,
        name: str,
    ) -> None:
        """It may not write to the exchange of clients: then reports go straight to the queue."""
        await mailbox.make()
        user = await anyio.to_thread.run_sync(
            lambda: rabbit_server.user(
                "word", configure=r"^studio-runner\.", write=r"^amq\.default$", read="^rmq_.*$"
            )
        )
        own = credential(_url(rabbit_server, user), management=rabbit_server.management_url)
        async with RabbitBroker(own, options(tmp_path)) as modest:
            for number in range(3):
                await modest.mailbox(name).post([f'{{"time":"{number}"}}'.encode()])
        wanted = [f'{{"time":"{number}"}}'.encode() for number in range(3)]
        assert await self.taken(broker, mailbox, 3) == wanted

    async def test_nothing_can_be_declared_by_posting(
        self, rabbit_server: RabbitServer, tmp_path: Path, name: str
    ) -> None:
        """Whoever may write and make nothing does neither worse nor better."""
        user = await anyio.to_thread.run_sync(
            lambda: rabbit_server.user("word", configure="^nothing$")
        )
        own = credential(_url(rabbit_server, user), management=rabbit_server.management_url)
        async with RabbitBroker(own, options(tmp_path)) as modest:
            with pytest.raises(QueueGone):
                await modest.mailbox(name).post([b"{}"])
