"""What the SQS broker does when the network or the service does not do its part."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, QueueDenied, QueueUnavailable
from runner.lifecycle.ownership.keeper import Keeper
from runner.queues.base import Delivery, Queue
from runner.queues.sqs import SqsBroker
from tests.queues.sqs_case import sqs_broker
from tests.servers.canned_sqs import canned_sqs, refused, said
from tests.servers.faults import LoseAnswer, Stall
from tests.servers.moto_sqs import Sqs, credential
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.service("sqs")]

PATIENCE = 60.0
NOW = timedelta(0)


@pytest.fixture
def server(moto_server: S3Server) -> Sqs:
    """Return moto."""
    return Sqs(moto_server.endpoint)


@pytest.fixture
def proxy(moto_server: S3Server) -> Iterator[Proxy]:
    """Return what stands between the broker and moto."""
    with Proxy(("127.0.0.1", moto_server.port)) as proxy:
        yield proxy


@pytest.fixture
def name(server: Sqs) -> str:
    """Return a new queue."""
    name = f"sqs_{uuid.uuid4().hex[:12]}"
    server.create(name)
    return name


async def received(queue: Queue) -> Delivery:
    """Receive, or fail."""
    with anyio.fail_after(PATIENCE):
        return await queue.receive()


def waited_for(server: Sqs, name: str) -> list[Mapping[str, Any]]:
    """Return what is visible, as soon as there is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := server.all_in(name):
            return found
        time.sleep(0.1)
    return []


async def published(queue: Queue, body: bytes = b"{}") -> str:
    """Publish a message."""
    assert isinstance(queue, Queue)
    return str(await queue.publish(body))  # type: ignore[attr-defined]


async def test_a_broker_that_is_down_at_the_start_is_found_later(
    proxy: Proxy, name: str, tmp_path: Path
) -> None:
    """Opening asks nobody; every call says that nobody answers, until somebody does."""
    proxy.down()
    async with sqs_broker(credential(proxy.url), tmp_path) as broker:
        queue = await broker.open(name)
        with pytest.raises(QueueUnavailable) as caught:
            await queue.take()
        assert not isinstance(caught.value, QueueDenied)
        with pytest.raises(QueueUnavailable):
            await anext(broker.discover())
        with pytest.raises(QueueUnavailable):
            await broker.exists(name)
        proxy.up()
        await published(queue)
        await (await received(queue)).ack()


async def test_an_outage_of_half_a_lease_costs_nothing(
    proxy: Proxy, server: Sqs, name: str, tmp_path: Path
) -> None:
    """The keeper tries until it is over, and the message stays ours."""
    lost: list[object] = []
    async with sqs_broker(credential(proxy.url), tmp_path, lease=4) as broker, Keeper() as keeper:
        queue = await broker.open(name)
        await published(queue)
        delivery = await received(queue)
        held = await keeper.hold("a", delivery.extend, lease=delivery.lease, lost=lost.append)
        await anyio.to_thread.run_sync(proxy.down)
        await anyio.sleep(2)
        await anyio.to_thread.run_sync(proxy.up)
        await anyio.sleep(4)
        assert not await anyio.to_thread.run_sync(server.all_in, name)
        await keeper.release(held)
        await delivery.ack()
    assert not lost


async def test_an_outage_of_two_leases_loses_the_message(
    proxy: Proxy, name: str, tmp_path: Path
) -> None:
    """Our own clock says so, without an answer of the broker."""
    lost: list[object] = []
    heard = anyio.Event()

    def hear(error: object) -> None:
        lost.append(error)
        heard.set()

    async with sqs_broker(credential(proxy.url), tmp_path) as broker, Keeper() as keeper:
        queue = await broker.open(name)
        await published(queue)
        delivery = await received(queue)
        await keeper.hold("a", delivery.extend, lease=delivery.lease, lost=hear)
        await anyio.to_thread.run_sync(proxy.down)
        with anyio.fail_after(PATIENCE):
            await heard.wait()
        assert isinstance(lost[0], LeaseLost)
        await anyio.to_thread.run_sync(proxy.up)
        with pytest.raises(LeaseLost):
            await delivery.ack()
        assert (await received(queue)).message.id == delivery.message.id


async def test_a_renewal_that_hangs_is_cut_and_made_anew(
    proxy: Proxy, server: Sqs, name: str, tmp_path: Path
) -> None:
    """On an established connection that says nothing more, long before its timeout."""
    lost: list[object] = []
    own = credential(proxy.url)
    async with sqs_broker(own, tmp_path, lease=3, timeout=60) as broker, Keeper() as keeper:
        queue = await broker.open(name)
        await published(queue)
        delivery = await received(queue)
        await delivery.extend()
        rule = proxy.inject(Stall())
        held = await keeper.hold("a", delivery.extend, lease=delivery.lease, lost=lost.append)
        await anyio.to_thread.run_sync(proxy.wait_for_fault, rule)
        await anyio.sleep(4)
        assert not await anyio.to_thread.run_sync(server.all_in, name)
        await keeper.release(held)
        await delivery.ack()
    assert not lost


async def test_a_settling_whose_answer_is_lost_is_repeated(
    proxy: Proxy, server: Sqs, name: str, tmp_path: Path
) -> None:
    """Deleting what is deleted is no trouble."""
    async with sqs_broker(credential(proxy.url), tmp_path, lease=10) as broker:
        queue = await broker.open(name)
        await published(queue)
        delivery = await received(queue)
        proxy.inject(LoseAnswer())
        with pytest.raises(QueueUnavailable):
            await delivery.ack()
        await delivery.ack()
    assert not await anyio.to_thread.run_sync(server.all_in, name)


async def test_open_polls_delay_no_renewal(server: Sqs, tmp_path: Path) -> None:
    """Thirty polls are open, more than calls have threads; a renewal goes past them."""
    names = [f"sqs_{uuid.uuid4().hex[:12]}" for _ in range(30)]
    for one in names:
        await anyio.to_thread.run_sync(server.create, one)
    async with sqs_broker(server.credential, tmp_path, lease=10, wait=20) as broker:
        queues = [await broker.open(one) for one in names]
        await published(queues[0])
        delivery = await received(queues[0])
        async with anyio.create_task_group() as group:
            for queue in queues:
                group.start_soon(queue.take)
            with anyio.fail_after(10):
                for _ in range(5):
                    await delivery.extend()
            group.cancel_scope.cancel()
        await delivery.ack()


async def test_a_message_that_nobody_waits_for_any_more_is_given_back(
    server: Sqs, name: str, tmp_path: Path
) -> None:
    """Shutting down, the daemon receives no more, while its poll is still open."""
    async with sqs_broker(server.credential, tmp_path, lease=30, wait=20) as broker:
        queue = await broker.open(name)
        with anyio.move_on_after(0.5):
            await queue.take()
        await anyio.to_thread.run_sync(server.send, name, "late")
        found = await anyio.to_thread.run_sync(waited_for, server, name)
    assert [one["Body"] for one in found] == ["late"]


async def test_the_next_receive_joins_the_poll_that_is_open(tmp_path: Path) -> None:
    """Receives that come and go make one request, and what it brings goes to the last of them."""
    arrived = threading.Event()
    sent = str(int(time.time() * 1000))
    found = {"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}
    message = said(Messages=[{**found, "Attributes": {"SentTimestamp": sent}}])
    with canned_sqs() as sqs:
        sqs.always("GetQueueUrl", said(QueueUrl=sqs.queue("sqs_a")))
        sqs.says["ReceiveMessage"] = lambda _: message if arrived.wait(PATIENCE) else said()
        async with sqs_broker(credential(sqs.url), tmp_path, lease=10) as broker:
            queue = await broker.open("sqs_a")
            for _ in range(5):
                with anyio.move_on_after(0.05):
                    await queue.take()
            async with anyio.create_task_group() as group:
                deliveries: list[Delivery | None] = []

                async def take() -> None:
                    deliveries.append(await queue.take())

                group.start_soon(take)
                group.start_soon(take)
                await anyio.sleep(0.05)
                arrived.set()
        assert sqs.count("ReceiveMessage") == 1
        assert sqs.count("ChangeMessageVisibility") == 0
    assert sorted(delivery is None for delivery in deliveries) == [False, True]


async def test_closing_waits_for_no_poll(server: Sqs, name: str, tmp_path: Path) -> None:
    """Twenty seconds are too long for a daemon that was told to stop."""
    async with sqs_broker(server.credential, tmp_path, wait=20) as broker:
        with anyio.move_on_after(0.3):
            await (await broker.open(name)).take()
        closing = anyio.current_time()
    assert anyio.current_time() - closing < 10


async def test_rotation_loses_nothing(server: Sqs, name: str, tmp_path: Path) -> None:
    """What is held is settled with the new key; the poll that was open ends with the old one."""
    async with sqs_broker(server.credential, tmp_path, wait=3, lease=10) as broker:
        queue = await broker.open(name)
        await published(queue)
        held = await received(queue)
        async with anyio.create_task_group() as group:
            found: list[Delivery | None] = []

            async def take() -> None:
                found.append(await queue.take())

            group.start_soon(take)
            await anyio.sleep(0.5)
            await broker.renew(replace(server.credential, access_key="AKIATESTTESTTEST0002"))
            await held.extend()
            await held.ack()
            await anyio.to_thread.run_sync(server.send, name, "{}")
        assert found[0] is not None
        await found[0].ack()


async def test_a_revoked_credential_is_replaced_in_the_middle(tmp_path: Path) -> None:
    """The old key is refused from one moment to the next; the new one goes on with the lease."""
    sent = str(int(time.time() * 1000))
    found = {"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}
    message = said(Messages=[{**found, "Attributes": {"SentTimestamp": sent}}])
    with canned_sqs() as sqs:
        sqs.always("GetQueueUrl", said(QueueUrl=sqs.queue("sqs_a")))
        sqs.always("ReceiveMessage", message)
        async with sqs_broker(credential(sqs.url), tmp_path, lease=20) as broker:
            delivery = await (await broker.open("sqs_a")).receive()
            sqs.always("ChangeMessageVisibility", refused("InvalidClientTokenId", status=403))
            with pytest.raises(QueueDenied):
                await delivery.extend()
            sqs.always("ChangeMessageVisibility", said())
            await broker.renew(credential(sqs.url, access_key="AKIATESTTESTTEST0002"))
            await delivery.extend()
            await delivery.ack()


async def test_a_closed_broker_can_still_settle(server: Sqs, name: str, tmp_path: Path) -> None:
    """A daemon that leaves renews a last time, and keeps no connection for it."""
    broker: SqsBroker
    async with sqs_broker(server.credential, tmp_path, lease=10) as broker:
        queue = await broker.open(name)
        await published(queue)
        delivery = await received(queue)
    await delivery.extend()
    await delivery.release(NOW)


async def test_a_message_that_came_while_the_loop_was_blocked_is_not_handed_out_late(
    tmp_path: Path,
) -> None:
    """Its lease has ended by then: somebody else may have it."""
    sent = str(int(time.time() * 1000))
    found = {"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}
    message = said(Messages=[{**found, "Attributes": {"SentTimestamp": sent}}])
    with canned_sqs() as sqs:
        sqs.always("GetQueueUrl", said(QueueUrl=sqs.queue("sqs_a")))
        sqs.always("ReceiveMessage", message)
        async with sqs_broker(credential(sqs.url), tmp_path, lease=1) as broker:
            queue = await broker.open("sqs_a")
            await queue.url()
            async with anyio.create_task_group() as group:
                deliveries: list[Delivery | None] = []

                async def take() -> None:
                    deliveries.append(await queue.take())

                group.start_soon(take)
                with anyio.fail_after(PATIENCE):
                    while not sqs.count("GetQueueAttributes"):
                        await anyio.lowlevel.checkpoint()
                time.sleep(2)  # noqa: ASYNC251 - that is the fault
        assert deliveries == [None]
