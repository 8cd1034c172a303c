"""Where dead letters of SQS lie: in the owner's dead letter queue, or on this machine."""

from __future__ import annotations

import uuid
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.errors import OutOfDisk
from runner.queues.base import Delivery, Queue
from tests.queues.sqs_case import sqs_broker
from tests.servers.moto_sqs import Sqs
from tests.servers.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.service("sqs")]

PATIENCE = 60.0
BODY = '{"experiment": {"key": "\u00e4\u4e2d\U0001f600"}}'


@pytest.fixture
def server(moto_server: S3Server) -> Sqs:
    """Return moto."""
    return Sqs(moto_server.endpoint)


@pytest.fixture
def name() -> str:
    """Return a name of its own."""
    return f"sqs_{uuid.uuid4().hex[:12]}"


async def received(queue: Queue) -> Delivery:
    """Receive, or fail."""
    with anyio.fail_after(PATIENCE):
        return await queue.receive()


@pytest.mark.parametrize("end", ["", ".fifo"])
async def test_the_owners_dead_letter_queue_gets_the_message(
    server: Sqs, name: str, tmp_path: Path, end: str
) -> None:
    """Body byte for byte; the reason, where it came from and how often, beside it."""
    dead = f"dead-{name}{end}"
    url = await anyio.to_thread.run_sync(server.create_with_dead_letters, name + end, dead)
    async with sqs_broker(server.credential, tmp_path) as broker:
        queue = await broker.open(name + end)
        sent = await queue.publish(BODY.encode())
        await (await received(queue)).bury("its script\x00 does not exist\n")
        [found] = await anyio.to_thread.run_sync(server.all_in, dead)
        assert found["Body"] == BODY
        told = {key: value["StringValue"] for key, value in found["MessageAttributes"].items()}
        assert told == {
            "StudioRunner.Reason": "its script\ufffd does not exist\n",
            "StudioRunner.Source": url,
            "StudioRunner.ReceiveCount": "1",
            "StudioRunner.MessageId": sent,
        }
        [letter] = await queue.dead()
        assert (letter.message.id, letter.message.body) == (sent, BODY.encode())
        assert not list((tmp_path / "dead").rglob("*.json"))
        assert await queue.requeue(sent)
        assert (await received(queue)).message.body == BODY.encode()
        assert not await queue.dead()


async def test_letters_of_other_queues_are_theirs(server: Sqs, name: str, tmp_path: Path) -> None:
    """Queues may share a dead letter queue; each shows and sends again its own alone."""
    dead, other = f"dead-{name}", f"{name}_other"
    for one in (name, other):
        await anyio.to_thread.run_sync(server.create_with_dead_letters, one, dead)
    async with sqs_broker(server.credential, tmp_path) as broker:
        mine, theirs = await broker.open(name), await broker.open(other)
        for queue in (mine, theirs):
            await queue.publish(queue.name.encode())
            await (await received(queue)).bury("no reason")
        [letter] = await mine.dead()
        assert letter.message.body == name.encode()
        [foreign] = await theirs.dead()
        assert not await mine.requeue("unknown")
        assert await theirs.requeue(foreign.message.id)
        assert len(await mine.dead()) == 1


async def test_a_message_that_sqs_itself_gave_up_on_is_a_dead_letter(
    server: Sqs, name: str, tmp_path: Path
) -> None:
    """The owner's maxReceiveCount moves messages as well, without a reason."""
    dead = f"dead-{name}"
    await anyio.to_thread.run_sync(server.create_with_dead_letters, name, dead, 1)
    await anyio.to_thread.run_sync(server.send, name, BODY)
    async with sqs_broker(server.credential, tmp_path) as broker:
        queue = await broker.open(name)
        await received(queue)
        assert await queue.take() is None
        with anyio.fail_after(PATIENCE):
            while not (letters := await queue.dead()):
                await queue.take()
    assert letters[0].message.body == BODY.encode()
    assert "more often" in letters[0].reason


async def test_a_dead_letter_queue_that_is_gone_loses_nothing(
    server: Sqs, name: str, tmp_path: Path
) -> None:
    """Then the letter is kept on this machine."""
    dead = f"dead-{name}"
    await anyio.to_thread.run_sync(server.create_with_dead_letters, name, dead)
    await anyio.to_thread.run_sync(server.delete, dead)
    async with sqs_broker(server.credential, tmp_path) as broker:
        queue = await broker.open(name)
        sent = await queue.publish(BODY.encode())
        await (await received(queue)).bury("no reason")
        [letter] = await queue.dead()
        assert (letter.message.id, letter.message.body) == (sent, BODY.encode())
        assert await queue.requeue(sent)
        assert (await received(queue)).message.body == BODY.encode()
        assert not await queue.dead()


async def test_a_letter_that_nobody_takes_stays_a_message(
    server: Sqs, name: str, tmp_path: Path
) -> None:
    """With no dead letter queue and no room on the disk it can still be released."""
    await anyio.to_thread.run_sync(server.create, name)
    async with sqs_broker(server.credential, tmp_path, letters=10) as broker:
        queue = await broker.open(name)
        await queue.publish(BODY.encode())
        delivery = await received(queue)
        with pytest.raises(OutOfDisk):
            await delivery.bury("no reason")
        await delivery.extend()
        await delivery.release(delivery.lease * 0)
        assert (await received(queue)).message.body == BODY.encode()
