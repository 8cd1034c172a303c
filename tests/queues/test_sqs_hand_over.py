"""Messages of SQS that are handed over to fresh ones, with a ceiling of seconds, on two servers."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.errors import LeaseLost
from runner.lifecycle.board import Entry
from runner.lifecycle.handling import Handling
from runner.lifecycle.sources.pulling import fresh_record
from runner.queues.base import Delivery
from runner.queues.sqs import SqsBroker
from runner.queues.sqs.queue import SqsQueue
from runner.queues.sqs.receipt import MARK
from tests.acceptance.box import Box
from tests.contracts.queues import NOW, PATIENCE, kept, received
from tests.lifecycle.machine import Machine, seen
from tests.queues.sqs_case import sqs_broker
from tests.servers.fauxqs import fauxqs_server
from tests.servers.moto_sqs import Sqs
from tests.servers.s3 import S3Server

__all__ = ["fauxqs_server"]

pytestmark = [pytest.mark.anyio, pytest.mark.service("sqs")]

#: Instead of 12 hours; a message ages after five sixths of it.
CEILING = timedelta(seconds=6)
BODY = '{"experiment": {"key": "e"}, "text": "\\ud83d\u2028 \u00e4\\n"}\n '.encode()

SCRIPT = """
import pathlib, time
with open({times!r}, 'a') as file:
    file.write('ran\\n')
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""


async def held_on(delivery: Delivery) -> None:
    """Renew for as long as that is possible."""
    with anyio.fail_after(PATIENCE):
        while True:
            await delivery.extend()
            await anyio.sleep(0.5)


class HandOverContract:
    """What is done, and what others see of it."""

    @pytest.fixture
    def server(self) -> Sqs:
        """Return the server."""
        raise NotImplementedError

    @pytest.fixture
    def name(self, server: Sqs) -> str:
        """Return a new queue."""
        name = f"sqs_{uuid.uuid4().hex[:12]}"
        server.create(name)
        return name

    @pytest.fixture
    async def broker(self, server: Sqs, tmp_path: Path) -> AsyncIterator[SqsBroker]:
        """Return a broker that must not hold for long."""
        async with sqs_broker(server.credential, tmp_path, lease=2, ceiling=CEILING) as broker:
            yield broker

    @pytest.fixture
    async def queue(self, broker: SqsBroker, name: str) -> SqsQueue:
        """Return the queue."""
        return await broker.open(name)

    async def aged(self, queue: SqsQueue) -> Delivery:
        """Return a message that was held until it is to be handed over."""
        await queue.publish(BODY)
        delivery = await received(queue)
        assert not delivery.is_ageing
        async with kept(delivery):
            await seen(lambda: delivery.is_ageing)
        return delivery

    async def test_others_see_the_message_as_it_was_sent(
        self, server: Sqs, queue: SqsQueue, name: str
    ) -> None:
        """Byte for byte; what knows nothing of our mark receives a message like any other."""
        delivery = await self.aged(queue)
        fresh = await delivery.send_on("our run")
        await delivery.leave()
        (found,) = await anyio.to_thread.run_sync(server.all_in, name)
        assert (found["MessageId"], found["Body"].encode()) == (fresh, BODY)
        assert list(found["MessageAttributes"]) == [MARK]
        mine = await received(queue)
        assert (mine.message.id, mine.message.body) == (fresh, BODY)
        assert (mine.message.mark, mine.message.receive_count) == ("our run", 2)
        assert not mine.is_ageing
        await mine.ack()

    async def test_what_was_handed_over_is_not_ours_to_settle(
        self, queue: SqsQueue, server: Sqs, name: str, tmp_path: Path
    ) -> None:
        """There is nothing to renew, for the next daemon neither, until the fresh one ages."""
        delivery = await self.aged(queue)
        await delivery.send_on("our run")
        await delivery.leave()
        async with sqs_broker(server.credential, tmp_path, lease=2, ceiling=CEILING) as other:
            adopted = await (await other.open(name)).adopt(delivery.message, delivery.token)
            for one in (delivery, adopted):
                await one.extend()
                assert not one.is_ageing
                for settle in (one.ack, partial(one.release, NOW), partial(one.bury, "none")):
                    with pytest.raises(LeaseLost, match="a fresh message stands for"):
                        await settle()
            await seen(lambda: adopted.is_ageing)
            await adopted.send_on("our run")
            await adopted.leave()
        assert await queue.depth() == 2

    async def test_a_message_that_came_back_meanwhile_is_left_to_others(
        self, queue: SqsQueue
    ) -> None:
        """Whoever has it by now reads in the claim record that it was replaced."""
        delivery = await self.aged(queue)
        await delivery.send_on("our run")
        before = [await received(queue), await received(queue)]
        await delivery.leave()
        assert {one.message.mark for one in before} == {"", "our run"}
        for one in before:
            await one.ack()

    async def test_in_a_fifo_queue_the_message_keeps_its_place(
        self, server: Sqs, broker: SqsBroker
    ) -> None:
        """A fresh one would be the last of its group: it comes back, the first as ever."""
        name = f"sqs_{uuid.uuid4().hex[:12]}.fifo"
        await anyio.to_thread.run_sync(
            partial(server.create, name, FifoQueue="true", ContentBasedDeduplication="true")
        )
        queue = await broker.open(name)
        for number in range(2):
            send = partial(
                server.ask,
                "send_message",
                QueueUrl=server.url(name),
                MessageBody=json.dumps(number),
                MessageGroupId="one",
            )
            await anyio.to_thread.run_sync(send)
        delivery = await received(queue)
        with pytest.raises(LeaseLost, match="12 hours"):
            await held_on(delivery)
        assert not delivery.is_ageing
        again = await received(queue)
        assert (again.message.id, again.message.body) == (delivery.message.id, b"0")
        await again.ack()

    async def test_the_trace_goes_with_the_message(
        self, server: Sqs, queue: SqsQueue, name: str
    ) -> None:
        """It is an attribute, which a fresh message has only where it is sent with it."""
        written = {"DataType": "String", "StringValue": "00-a-b-01"}
        send = partial(
            server.ask,
            "send_message",
            QueueUrl=server.url(name),
            MessageBody=BODY.decode(),
            MessageAttributes={"traceparent": written},
        )
        await anyio.to_thread.run_sync(send)
        delivery = await received(queue)
        assert delivery.message.traceparent == "00-a-b-01"
        await delivery.send_on("our run")
        await delivery.leave()
        mine = await received(queue)
        assert (mine.message.traceparent, mine.message.mark) == ("00-a-b-01", "our run")
        await mine.ack()

    async def test_a_run_goes_through_its_hand_overs(
        self, server: Sqs, name: str, tmp_path: Path
    ) -> None:
        """It runs once, its message is received once at each of them, and none is left."""
        ceiling = timedelta(seconds=12)
        async with sqs_broker(server.credential, tmp_path, lease=3, ceiling=ceiling) as broker:
            await self.run_through(await broker.open(name), tmp_path)
            await anyio.sleep(3.5)  # a lease
            assert not await anyio.to_thread.run_sync(server.all_in, name)

    async def run_through(self, queue: SqsQueue, tmp_path: Path) -> None:
        """Run an experiment that outlives two messages."""
        box = Box(tmp_path / "box")
        times, go = tmp_path / "times", tmp_path / "go"
        message = box.message(SCRIPT.format(times=str(times), go=str(go)))
        ids: list[str] = []
        async with Machine.open(box) as machine, anyio.create_task_group() as group:

            async def serve() -> None:
                while True:
                    delivery = await queue.receive()
                    ids.append(delivery.message.id)
                    entry = Entry(fresh_record(queue, delivery))
                    handling = Handling(machine.parts, delivery, entry)
                    group.start_soon(handling.perform, await machine.parts.intake.slot())

            await queue.publish(json.dumps(message).encode())
            with anyio.fail_after(PATIENCE):
                group.start_soon(serve)
                await seen(lambda: len(ids) == 3)
                go.touch()
                await seen(lambda: machine.ends == ["completed"])
                await seen(lambda: machine.ledger.free == machine.ledger.total)
                await machine.check_clean()
            group.cancel_scope.cancel()
        assert len(set(ids)) == len(ids)
        assert times.read_text() == "ran\n"
        claim = box.claim(message["experiment"]["key"])
        assert claim is not None
        assert (claim["message"], claim["replaced"]) == (ids[-1], ids[:-1])


class TestOnMoto(HandOverContract):
    """moto."""

    @pytest.fixture
    def server(self, moto_server: S3Server) -> Sqs:
        """Return moto."""
        return Sqs(moto_server.endpoint)


class TestOnFauxqs(HandOverContract):
    """fauxqs, whose receipts grow old."""

    @pytest.fixture
    def server(self, fauxqs_server: Sqs) -> Sqs:
        """Return fauxqs."""
        return fauxqs_server
