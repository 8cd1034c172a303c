"""What befalls a RabbitMQ broker and the way to it, and what becomes of messages then."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, MessageGone, QueueDenied, QueueGone, QueueUnavailable
from runner.queues.base import Delivery
from runner.queues.rabbitmq import RabbitBroker
from runner.queues.rabbitmq.queue import RabbitQueue
from tests.contracts.queues import NOW, PATIENCE, body_of, kept, received
from tests.queues.rabbitmq_case import broker_of, credential, declared, options
from tests.servers.gate import Gate
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.anyio, pytest.mark.service("rabbitmq")]

LEASE = 2.0


@pytest.fixture
def name(rabbit_server: RabbitServer) -> str:
    """Return the name of a queue that is there."""
    return declared(rabbit_server)


@pytest.fixture
def gate(rabbit_server: RabbitServer) -> Iterator[Gate]:
    """Return a door before the broker."""
    with Gate(rabbit_server.port) as gate:
        yield gate


@pytest.fixture
async def distant(
    gate: Gate, rabbit_server: RabbitServer, tmp_path: Path
) -> AsyncIterator[RabbitBroker]:
    """Return a broker behind the door."""
    url = rabbit_server.url_for("guest", "guest", port=gate.port)
    async with RabbitBroker(
        credential(url, management=rabbit_server.management_url),
        options(tmp_path, lease=LEASE, limit=2.0),
    ) as broker:
        yield broker


@pytest.fixture
async def near(rabbit_server: RabbitServer, tmp_path: Path) -> AsyncIterator[RabbitBroker]:
    """Return a broker that nothing befalls."""
    async with broker_of(rabbit_server, tmp_path, lease=LEASE) as broker:
        yield broker


async def one_held(sender: RabbitBroker, holder: RabbitBroker, name: str) -> Delivery:
    """Publish over one broker and receive over the other."""
    await (await sender.open(name)).publish(body_of(1))
    return await received(await holder.open(name))


async def is_empty(queue: RabbitQueue, seconds: float = 0.5) -> bool:
    """Tell whether nothing is handed out for a while."""
    with anyio.move_on_after(seconds) as scope:
        await (await queue.receive()).release(NOW)
    return scope.cancelled_caught


async def stubborn(delivery: Delivery) -> None:
    """Extend for ever, whatever happens, as the keeper does while there is lease left."""
    while True:
        try:
            await delivery.extend()
            await anyio.sleep(LEASE / 4)
        except LeaseLost:
            raise
        except QueueUnavailable:
            await anyio.sleep(LEASE / 10)


async def test_a_broker_that_is_down_at_the_start_is_waited_for(
    gate: Gate, distant: RabbitBroker, near: RabbitBroker, name: str
) -> None:
    """Receiving says that nobody answers, and works as soon as somebody does."""
    gate.shut()
    queue = await distant.open(name)
    with pytest.raises(QueueUnavailable, match="cannot be reached"):
        await queue.receive()
    gate.open()
    await (await near.open(name)).publish(body_of(1))
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                delivery = await queue.receive()
                break
            except QueueUnavailable:
                await anyio.sleep(0.05)
    await delivery.ack()


async def test_a_lease_survives_half_of_it_without_the_broker(
    gate: Gate, distant: RabbitBroker, near: RabbitBroker, name: str
) -> None:
    """The parked copy waits in its queue, is taken again, and nobody else saw it."""
    delivery = await one_held(near, distant, name)
    async with anyio.create_task_group() as group:
        group.start_soon(stubborn, delivery)
        await delivery.extend()
        gate.shut()
        await anyio.sleep(LEASE / 2)
        gate.open()
        assert await is_empty(await near.open(name), 2 * LEASE)
        group.cancel_scope.cancel()
    await delivery.ack()
    assert await is_empty(await near.open(name), 1.5 * LEASE)


async def test_a_lease_is_lost_after_two_of_them_without_the_broker(
    gate: Gate, distant: RabbitBroker, near: RabbitBroker, name: str
) -> None:
    """The message is back at its source for others, and the former holder is told so."""
    delivery = await one_held(near, distant, name)
    gate.shut()
    async with kept(await received(await near.open(name))):
        gate.open()
        with pytest.raises(LeaseLost):
            await stubborn(delivery)


async def test_a_cut_connection_costs_no_lease(
    gate: Gate, distant: RabbitBroker, near: RabbitBroker, name: str
) -> None:
    """Whether extended or settled next, what was held is held over the next connection."""
    queue, other = await distant.open(name), await near.open(name)
    await other.publish(body_of(1))
    await other.publish(body_of(2))
    first, second = await received(queue), await received(queue)
    await second.extend()
    gate.cut()
    await first.extend()
    await second.release(NOW)
    gate.cut()
    await first.ack()
    again = await received(other)
    assert (again.message.body, again.message.receive_count) == (body_of(2), 2)
    await again.ack()
    assert await is_empty(other, 1.5 * LEASE)


async def test_an_operator_may_close_the_connection(
    rabbit_server: RabbitServer, near: RabbitBroker, name: str, tmp_path: Path
) -> None:
    """Closed from the management side, it is made again, and the lease goes on."""
    user = rabbit_server.user("secret")
    url = rabbit_server.url_for(user, "secret")
    async with RabbitBroker(credential(url), options(tmp_path, lease=6)) as broker:
        delivery = await one_held(near, broker, name)
        await anyio.to_thread.run_sync(rabbit_server.close_connections, user)
        await delivery.extend()
        await delivery.ack()
    assert await is_empty(await near.open(name))


async def test_a_renewal_that_hangs_is_given_up_and_made_over_a_new_connection(
    gate: Gate, distant: RabbitBroker, near: RabbitBroker, name: str
) -> None:
    """A connection that stands and carries nothing is noticed within a fraction of the lease."""
    delivery = await one_held(near, distant, name)
    before = gate.accepted
    async with anyio.create_task_group() as group:
        group.start_soon(stubborn, delivery)
        gate.freeze()
        with anyio.fail_after(PATIENCE):
            while gate.accepted == before:  # noqa: ASYNC110 - it is counted in another thread
                await anyio.sleep(0.02)
        gate.thaw()
        assert await is_empty(await near.open(name), 2 * LEASE)
        group.cancel_scope.cancel()
    await delivery.ack()


async def test_a_frozen_broker_is_waited_out(
    rabbit_server: RabbitServer, near: RabbitBroker, name: str
) -> None:
    """A broker whose processes stand still for half a lease forgets nothing when they go on."""
    queue = await near.open(name)
    await queue.publish(body_of(1))
    delivery = await received(queue)
    await delivery.extend()
    async with anyio.create_task_group() as group:
        group.start_soon(stubborn, delivery)
        with rabbit_server.frozen():
            await anyio.sleep(LEASE / 2)
        assert await is_empty(queue, 1.5 * LEASE)
        group.cancel_scope.cancel()
    await delivery.ack()


async def test_a_message_on_an_open_receive_during_shutdown_is_not_lost(
    near: RabbitBroker, name: str, rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """Receivers that are cancelled and closed while messages pour in leave every one of them."""
    other = await near.open(name)
    bodies = [body_of(number) for number in range(20)]
    async with anyio.create_task_group() as senders:
        for number in range(10):
            async with RabbitBroker(credential(rabbit_server.url), options(tmp_path)) as broker:
                queue = await broker.open(name)
                async with anyio.create_task_group() as group:
                    group.start_soon(queue.receive)
                    group.start_soon(queue.ready)
                    senders.start_soon(other.publish, bodies[2 * number])
                    senders.start_soon(other.publish, bodies[2 * number + 1])
                    await anyio.sleep(0.004 * number)
                    group.cancel_scope.cancel()
    found: list[bytes] = []
    while await took_another(other, found):
        pass
    assert set(found) == set(bodies)


async def took_another(queue: RabbitQueue, found: list[bytes]) -> bool:
    """Take one message and note it; tell when there is none for longer than a lease."""
    with anyio.move_on_after(1.5 * LEASE):
        delivery = await queue.receive()
        found.append(delivery.message.body)
        await delivery.ack()
        return True
    return False


@pytest.fixture
def impatient(rabbit_server: RabbitServer) -> Iterator[None]:
    """Have the broker end, from now on, what is unacknowledged for two seconds."""
    set_to = "application:set_env(rabbit, consumer_timeout, {})."
    before = rabbit_server.control("eval", "application:get_env(rabbit, consumer_timeout, 0).")
    rabbit_server.control("eval", set_to.format(2000))
    yield
    rabbit_server.control("eval", set_to.format(before.strip()))


@pytest.mark.usefixtures("impatient")
async def test_a_message_held_beyond_the_consumer_timeout_stays_held(
    rabbit_server: RabbitServer, near: RabbitBroker, name: str, tmp_path: Path
) -> None:
    """The broker ends what is unacknowledged for too long; a renewed copy never is.

    Where nothing can be parked, the same time ends the lease.
    """
    delivery = await one_held(near, near, name)
    async with kept(delivery):
        assert await is_empty(await near.open(name), 8.0)
    await delivery.ack()
    url = rabbit_server.url_for(rabbit_server.user("secret", configure="^$"), "secret")
    async with RabbitBroker(credential(url), options(tmp_path, lease=LEASE)) as broker:
        unparked = await one_held(near, broker, name)
        with anyio.fail_after(PATIENCE), pytest.raises(LeaseLost):
            await stubborn(unparked)


async def test_a_broker_that_restarts_without_the_queue_says_that_the_message_is_gone(
    rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """Nobody else can have it then; that the queue was deleted is not said."""
    name = f"rmq_{secrets.token_hex(4)}"
    lasting = f"rmq_{secrets.token_hex(4)}"
    rabbit_server.declare(name)
    rabbit_server.declare(lasting, durable=True)
    async with RabbitBroker(
        credential(rabbit_server.url, management=rabbit_server.management_url),
        options(tmp_path, lease=60, limit=5.0),
    ) as broker:
        delivery = await one_held_raw(rabbit_server, broker, name, persistent=False)
        durable = await one_held_raw(rabbit_server, broker, lasting, persistent=True)
        assert await broker.exists(name)
        await anyio.to_thread.run_sync(restart, rabbit_server)
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    await durable.extend()
                    break
                except LeaseLost:
                    raise
                except QueueUnavailable:
                    await anyio.sleep(0.2)
        with pytest.raises(MessageGone):
            await delivery.extend()
        with pytest.raises(QueueUnavailable, match="cannot be told"):
            await broker.exists(name)
        assert await broker.exists(lasting)
        await durable.ack()
        assert await (await broker.open(lasting)).depth() == 0
    rabbit_server.delete(lasting)


def restart(server: RabbitServer) -> None:
    """Stop the broker and start it again."""
    with server.stopped():
        pass


async def one_held_raw(
    server: RabbitServer, broker: RabbitBroker, name: str, *, persistent: bool
) -> Delivery:
    """Publish as the client of such a queue does, and receive."""
    message = {
        "properties": {"delivery_mode": 2 if persistent else 1},
        "routing_key": f"StudioML.{name}",
        "payload": '{"experiment": {}}',
        "payload_encoding": "string",
    }
    server.ask("POST", "exchanges/%2F/StudioML.topic/publish", message)
    return await received(await broker.open(name))


@pytest.fixture
def alarmed(rabbit_server: RabbitServer) -> Iterator[None]:
    """Have the broker believe that it has too little memory, until the fixture's end."""
    yield
    rabbit_server.control("set_vm_memory_high_watermark", "0.4")


@pytest.mark.usefixtures("alarmed")
async def test_a_broker_that_takes_no_messages_costs_no_lease(
    rabbit_server: RabbitServer, near: RabbitBroker, name: str
) -> None:
    """With its alarm for memory or disk on, a broker reads nothing; what is held stays held."""
    controlled = partial(anyio.to_thread.run_sync, rabbit_server.control)  # it takes seconds
    delivery = await one_held(near, near, name)
    async with anyio.create_task_group() as group:
        group.start_soon(stubborn, delivery)
        await controlled("set_vm_memory_high_watermark", "absolute", "1")
        await anyio.sleep(3 * LEASE)
        await controlled("set_vm_memory_high_watermark", "0.4")
        assert await is_empty(await near.open(name), 1.5 * LEASE)
        group.cancel_scope.cancel()
    await delivery.ack()


async def test_where_no_queue_may_be_made_the_message_is_held_as_it_is(
    rabbit_server: RabbitServer, near: RabbitBroker, name: str, tmp_path: Path
) -> None:
    """Receiving, renewing and every kind of settling work without the right to configure."""
    user = rabbit_server.user("secret", configure="^$")
    url = rabbit_server.url_for(user, "secret")
    other = await near.open(name)
    async with RabbitBroker(credential(url), options(tmp_path, lease=LEASE)) as broker:
        queue = await broker.open(name)
        await other.publish(body_of(1))
        delivery = await received(queue)
        async with kept(delivery):
            assert await is_empty(other, 2 * LEASE)
        await delivery.release(NOW)
        delivery = await received(queue)
        assert delivery.message.receive_count == 2
        await delivery.release(timedelta(seconds=0.6 * LEASE))
        assert await is_empty(other)
        delivery = await received(queue)
        await delivery.bury("no reason")
        assert [letter.message.body for letter in await queue.dead()] == [body_of(1)]
        await other.publish(body_of(2))
        await (await received(queue)).ack()
        assert await is_empty(other)
        await other.publish(body_of(3))
        lost = await received(queue)
        await anyio.to_thread.run_sync(rabbit_server.close_connections, user)
        with pytest.raises(LeaseLost):
            await lost.extend()
        with pytest.raises(LeaseLost):
            await queue.adopt(lost.message, lost.token)
    await (await received(other)).ack()


async def test_a_rotated_password_loses_nothing(
    rabbit_server: RabbitServer, near: RabbitBroker, name: str, tmp_path: Path
) -> None:
    """What is held stays held, who waits for a message gets it, over the new login."""
    user = rabbit_server.user("first")
    other = await near.open(name)
    async with RabbitBroker(
        credential(rabbit_server.url_for(user, "first")), options(tmp_path, lease=6)
    ) as broker:
        queue = await broker.open(name)
        await other.publish(body_of(1))
        held = await received(queue)
        found: list[Delivery] = []

        async def wait() -> None:
            while not found:
                try:
                    found.append(await received(queue))
                except QueueUnavailable:  # the operator closes that connection, too
                    await anyio.sleep(0.05)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.sleep(0.2)
            rabbit_server.set_password(user, "second")
            await broker.renew(credential(rabbit_server.url_for(user, "second")))
            await held.extend()
            await anyio.to_thread.run_sync(rabbit_server.close_connections, user)
            await held.extend()
            await other.publish(body_of(2))
        assert found[0].message.body == body_of(2)
        await held.ack()
        await found[0].ack()


async def test_a_revoked_password_is_denied_with_a_sentence(
    rabbit_server: RabbitServer, name: str, tmp_path: Path
) -> None:
    """The user and the server are named, the password is not."""
    user = rabbit_server.user("right")
    url = rabbit_server.url_for(user, "wrong-password")
    async with RabbitBroker(
        credential(url, management=rabbit_server.management_url), options(tmp_path)
    ) as broker:
        with pytest.raises(QueueDenied, match=user) as denied:
            await (await broker.open(name)).receive()
        assert "wrong-password" not in str(denied.value)
        with pytest.raises(QueueDenied):
            await broker.exists(name)


async def test_a_queue_whose_node_is_down_takes_nothing_back_and_loses_nothing(
    rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """A cluster says of it what it says of a deleted one; so it is asked about before it goes."""
    name = f"rmq_{secrets.token_hex(4)}"
    rabbit_server.declare(name, durable=True)
    async with broker_of(rabbit_server, tmp_path, lease=60) as broker:
        queue = await broker.open(name)
        await queue.publish(body_of(1))
        delivery = await received(queue)
        with rabbit_server.away(name):
            for act in (broker.exists(name), delivery.release(NOW)):
                with pytest.raises(QueueUnavailable, match="is down or inaccessible") as caught:
                    await act
                assert not isinstance(caught.value, QueueGone)
            await delivery.extend()
        await delivery.release(NOW)
        again = await received(queue)
        assert again.message.body == body_of(1)
        assert again.message.receive_count == 2
        await again.ack()
    rabbit_server.delete(name)
