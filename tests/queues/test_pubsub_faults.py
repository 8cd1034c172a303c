"""Pub/Sub that is away, hangs, throttles or refuses; connections that change; many queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, QueueDenied, QueueUnavailable, RunnerError
from runner.lifecycle.ownership.keeper import Keeper
from runner.queues.base import Delivery
from runner.queues.pubsub.queue import PubsubQueue
from tests.contracts.queues import received
from tests.queues.pubsub_case import NAME, Project, anyio_backend, one_loop, until
from tests.servers.pubsub import FakeServer

__all__ = ["anyio_backend", "one_loop"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(pubsub_fake: FakeServer, tmp_path: Path) -> Project:
    """Return a new project on the fake."""
    return Project(pubsub_fake, tmp_path)


@asynccontextmanager
async def keeping(delivery: Delivery) -> AsyncIterator[list[RunnerError]]:
    """Have the daemon's keeper keep a delivery; yield what it says of its loss."""
    lost: list[RunnerError] = []
    async with Keeper() as keeper:
        held = await keeper.hold("message", delivery.extend, lease=delivery.lease, lost=lost.append)
        yield lost
        await keeper.release(held)


async def is_empty(project: Project) -> bool:
    """Tell whether another runner finds nothing."""
    async with project.broker() as other:
        queue = await other.open(NAME)
        with anyio.move_on_after(0.5) as scope:
            await queue.receive()
        return scope.cancelled_caught


async def publish_at_last(queue: PubsubQueue, body: bytes) -> None:
    """Publish as soon as the server is back."""
    with anyio.fail_after(30):
        while True:
            try:
                await queue.publish(body)
            except QueueUnavailable:
                await anyio.sleep(0.05)
            else:
                return


async def test_a_broker_that_is_down_at_the_start_is_asked_again(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """Opening asks nobody; a receive says that nobody answers, and the next one works."""
    await project.create()
    pubsub_fake.ask("go_down", seconds=2)
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        with pytest.raises(QueueUnavailable):
            await queue.receive()
        await publish_at_last(queue, b"{}")
        await (await received(queue)).ack()


async def test_an_outage_of_half_a_lease_costs_nothing(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """The keeper tries again while there is lease left, and nobody else gets the message."""
    async with project.held(lease=timedelta(seconds=4)) as (_, delivery):
        async with keeping(delivery) as lost:
            pubsub_fake.ask("go_down", seconds=2)
            await anyio.sleep(5)
            assert not lost
            assert await is_empty(project)
        await delivery.ack()


async def test_an_outage_of_two_leases_loses_the_message(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """Our clock says so while nobody can be asked, and it stays lost when Pub/Sub is back."""
    async with project.held() as (queue, delivery):
        async with keeping(delivery) as lost:
            pubsub_fake.ask("go_down", seconds=4)
            await until(lambda: bool(lost))
        assert isinstance(lost[0], LeaseLost)
        await publish_at_last(queue, b"another")
        with pytest.raises(LeaseLost):
            await delivery.ack()
        assert (await received(queue)).message.id == delivery.message.id


async def test_a_renewal_that_hangs_is_tried_on_another_connection(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """One that is not answered on an established connection costs no lease."""
    async with project.held(lease=timedelta(seconds=3)) as (_, delivery):
        with pubsub_fake.failing(project.project, "ModifyAckDeadline", times=1):
            async with keeping(delivery) as lost:
                await anyio.sleep(5)
                assert not lost
                assert await is_empty(project)
        await delivery.ack()


async def test_a_server_that_falls_silent_for_a_moment_costs_nothing(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """Connections stay established, nothing is answered, then all goes on."""
    async with project.held(lease=timedelta(seconds=4)) as (_, delivery):
        async with keeping(delivery) as lost:
            with pubsub_fake.frozen():
                await anyio.sleep(2)
            await anyio.sleep(3)
            assert not lost
        await delivery.ack()


async def test_throttling_is_no_busy_loop(project: Project, pubsub_fake: FakeServer) -> None:
    """Whoever is told to slow down says so once per receive, and asks no more by itself."""
    async with project.queue() as queue:
        await queue.publish(b"{}")
        before = pubsub_fake.stats()["calls"].get("Pull", 0)
        with pubsub_fake.failing(project.project, "Pull", status="RESOURCE_EXHAUSTED"):
            with pytest.raises(QueueUnavailable, match="RESOURCE_EXHAUSTED"):
                await queue.receive()
            await anyio.sleep(1)
            assert pubsub_fake.stats()["calls"]["Pull"] - before == 1
        await (await received(queue)).ack()


async def test_empty_answers_are_no_busy_loop(project: Project, pubsub_fake: FakeServer) -> None:
    """The service may end a pull at once with nothing: then there is a pause."""
    async with project.queue() as queue:
        before = pubsub_fake.stats()["calls"].get("Pull", 0)
        with pubsub_fake.failing(project.project, "Pull", empty=True):
            with anyio.move_on_after(2.5):
                await queue.receive()
            assert pubsub_fake.stats()["calls"]["Pull"] - before <= 3


async def test_a_right_that_is_taken_away_is_said(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """In the middle of everything; what is held is not lost by it."""
    async with project.held() as (queue, delivery):
        with pubsub_fake.failing(project.project, "*", status="PERMISSION_DENIED"):
            with pytest.raises(QueueDenied, match=r"pubsub.subscriptions.consume on projects/"):
                await queue.receive()
            with pytest.raises(QueueDenied):
                await delivery.extend()
        await delivery.extend()
        await delivery.ack()


async def test_a_message_that_comes_during_the_shutdown_comes_back(project: Project) -> None:
    """It was on an open pull that nobody waited for any more, and is given back at the end."""
    async with project.queue(lease=timedelta(seconds=60), ack_deadline_seconds=10) as queue:
        with anyio.move_on_after(0.5):
            await queue.receive()
        await queue.publish(b"{}")
    async with project.broker() as other:
        with anyio.fail_after(30):  # a pull that was cut off hides it for the ack deadline: 10 s
            await (await (await other.open(NAME)).receive()).ack()


async def test_deliveries_outlive_their_broker(project: Project) -> None:
    """A credential that is gone closes the broker; what is held is kept and settled."""
    await project.create()
    async with Keeper() as keeper:
        async with project.broker() as broker:
            queue = await broker.open(NAME)
            await queue.publish(b"{}")
            delivery = await received(queue)
            await keeper.run(delivery.extend)
        await keeper.run(delivery.extend)
        await delivery.extend()
        await keeper.run(delivery.ack)
    assert await is_empty(project)


async def test_a_rotated_credential_cuts_nothing_off(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """The open pull brings its message, the delivery goes on, and new calls use new connections."""
    await project.create()
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        await queue.publish(b"first")
        held = await received(queue)
        before = pubsub_fake.stats()["calls"]["Pull"]
        found: list[Delivery] = []

        async def receive() -> None:
            found.append(await received(queue))

        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await until(lambda: pubsub_fake.stats()["calls"]["Pull"] == before + 1)
            old = set(pubsub_fake.stats()["open"])
            await broker.renew(project.credential(fingerprint="2"))
            await held.extend()
            await queue.publish(b"second")
        assert found[0].message.body == b"second"
        await held.ack()
        await found[0].ack()
        with anyio.move_on_after(0.5):
            await queue.receive()
        assert not old & set(pubsub_fake.stats()["open"])


async def test_no_connection_has_too_many_pulls(project: Project, pubsub_fake: FakeServer) -> None:
    """Two hundred queues are waited for at once, each is heard, and nothing is delayed by it."""
    names = [f"queue{number}_sub" for number in range(200)]

    def create_all() -> None:
        for name in names:
            pubsub_fake.create(project.project, name)

    await anyio.to_thread.run_sync(create_all)
    async with project.broker(lease=timedelta(seconds=60)) as broker:
        queues = [await broker.open(name) for name in names]
        found: list[Delivery] = []

        async def receive(index: int) -> None:
            found.append(await received(queues[index]))

        async with anyio.create_task_group() as group:
            for index in range(len(queues)):
                group.start_soon(receive, index)
            await until(lambda: sum(pubsub_fake.stats()["open"].values()) == len(names))
            assert max(pubsub_fake.stats()["open"].values()) <= 80
            for queue in queues:
                await queue.publish(b"{}")
        assert {delivery.message.queue for delivery in found} == set(names)
        for delivery in found:
            await delivery.ack()
