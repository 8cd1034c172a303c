"""What RabbitMQ holds after each kind of settling, and what becomes of a message's properties."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from runner.errors import MessageGone
from runner.queues.rabbitmq import RabbitBroker
from runner.queues.rabbitmq.queue import RabbitQueue
from tests.contracts.queues import NOW, PATIENCE, body_of, received
from tests.queues.rabbitmq_case import broker_of, credential, declared, options
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.anyio, pytest.mark.service("rabbitmq")]


@pytest.fixture
def name(rabbit_server: RabbitServer) -> str:
    """Return the name of a queue that is there."""
    return declared(rabbit_server)


@pytest.fixture
async def broker(rabbit_server: RabbitServer, tmp_path: Path) -> AsyncIterator[RabbitBroker]:
    """Return a broker whose leases outlast a test."""
    async with broker_of(rabbit_server, tmp_path, lease=60) as broker:
        yield broker


@pytest.fixture
async def queue(broker: RabbitBroker, name: str) -> RabbitQueue:
    """Return the queue."""
    return await broker.open(name)


def publish(server: RabbitServer, name: str, payload: str, **properties: Any) -> None:
    """Publish as any client might."""
    message = {
        "properties": properties,
        "routing_key": f"StudioML.{name}",
        "payload": payload,
        "payload_encoding": "string",
    }
    assert server.ask("POST", "exchanges/%2F/StudioML.topic/publish", message)["routed"]


def waiting(server: RabbitServer, name: str) -> list[dict[str, Any]]:
    """Return what waits in a queue, and leave it there."""
    how = {"count": 100, "ackmode": "ack_requeue_true", "encoding": "auto"}
    found: list[dict[str, Any]] = server.ask("POST", f"queues/%2F/{name}/get", how) or []
    return found


def ours(server: RabbitServer, name: str) -> list[str]:
    """Return the queues that runners made for this one."""
    return [one for one in server.queues() if one.startswith("studio-runner.") and name in one]


def knows_policy(server: RabbitServer, name: str) -> bool:
    """Tell whether the management interface tells of the policy by now."""
    return bool(server.queues()[name].get("effective_policy_definition"))


async def test_nothing_of_ours_is_left_when_a_message_is_settled(
    rabbit_server: RabbitServer, queue: RabbitQueue, name: str
) -> None:
    """The parking queue goes with its message, however that is settled."""
    for _ in range(3):
        await queue.publish(body_of(1))
    first, second, third = [await received(queue) for _ in range(3)]
    assert len(ours(rabbit_server, name)) == 3
    await first.ack()
    await second.release(NOW)
    await third.bury("no reason")
    assert not ours(rabbit_server, name)
    assert [message["redelivered"] for message in waiting(rabbit_server, name)] == [False]


async def test_a_message_with_a_delay_lies_with_the_broker(
    rabbit_server: RabbitServer, queue: RabbitQueue, name: str
) -> None:
    """Of each delay there is one queue, for all messages and runners; it goes away by itself."""
    await queue.publish(body_of(1))
    await queue.publish(body_of(2))
    first, second = await received(queue), await received(queue)
    await first.release(timedelta(seconds=1))
    await second.release(timedelta(seconds=1))
    [room] = ours(rabbit_server, name)
    assert rabbit_server.queues()[room]["arguments"]["x-expires"] == 61_000
    again = [await received(queue), await received(queue)]
    assert [one.message.body for one in again] == [body_of(1), body_of(2)]
    assert [one.message.receive_count for one in again] == [2, 2]
    for one in again:
        await one.ack()


async def test_properties_survive_and_those_with_an_effect_have_none(
    rabbit_server: RabbitServer, queue: RabbitQueue, name: str
) -> None:
    """A message comes back as it was; what would end or multiply a copy is kept in a header."""
    headers = {"owner": "ann", "nested": {"deep": [1, 2.5, "x", True]}, "CC": ["elsewhere"]}
    publish(
        rabbit_server,
        name,
        "körper",
        content_type="application/json",
        app_id="studioml",
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="somebody",
        type="t",
        timestamp=1_700_000_000,
        expiration="50000",
        user_id="guest",
        headers=headers,
    )
    delivery = await received(queue)
    assert delivery.message.body == "körper".encode()
    await delivery.extend()
    await delivery.release(NOW)
    [message] = waiting(rabbit_server, name)
    properties = message["properties"]
    kept = properties.pop("headers")
    assert kept.pop("studio-runner.aside") == {
        "CC": ["elsewhere"],
        "expiration": "50000",
        "user_id": "guest",
    }
    assert (
        kept
        == {
            "owner": "ann",
            "nested": {"deep": [1, 2.5, "x", True]},
            "studio-runner.receives": 1,
        }
        or kept["owner"] == "ann"
    )
    assert properties == {
        "content_type": "application/json",
        "app_id": "studioml",
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "somebody",
        "type": "t",
        "timestamp": 1_700_000_000,
        "message_id": delivery.message.id,
    }


async def test_a_message_without_an_id_keeps_the_one_that_it_is_given(
    rabbit_server: RabbitServer, queue: RabbitQueue, name: str
) -> None:
    """StudioML clients give none; it is the same for whoever looks, however often."""
    publish(rabbit_server, name, '{"experiment": {}}', app_id="studioml")
    [peeked] = await queue.peek(5)
    first = await received(queue)
    await first.release(NOW)
    second = await received(queue)
    assert {peeked.id, first.message.id, second.message.id} == {peeked.id}
    await second.ack()


async def test_the_owners_dead_letters_go_where_the_owner_wants_them(
    rabbit_server: RabbitServer, broker: RabbitBroker
) -> None:
    """By an argument or a policy: reason and origin in headers, nothing in our drawer."""
    argued, ruled, letters = (f"rmq_{secrets.token_hex(4)}" for _ in range(3))
    rabbit_server.declare(letters)
    rabbit_server.declare(
        argued, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters}
    )
    rabbit_server.declare(ruled)
    rule = {"dead-letter-exchange": "", "dead-letter-routing-key": letters}
    policy = {"pattern": f"^{ruled}$", "apply-to": "queues", "definition": rule}
    rabbit_server.ask("PUT", f"policies/%2F/{ruled}", policy)
    with anyio.fail_after(PATIENCE):  # the management interface tells of policies seconds later
        while not knows_policy(rabbit_server, ruled):  # noqa: ASYNC110 - no event of ours
            await anyio.sleep(0.1)
    for name in (argued, ruled):
        queue = await broker.open(name)
        await queue.publish(body_of(1))
        await (await received(queue)).bury("its script does not exist")
        assert not await queue.dead()
    found = [message["properties"]["headers"] for message in waiting(rabbit_server, letters)]
    assert [one["studio-runner.queue"] for one in found] == [argued, ruled]
    assert {one["studio-runner.reason"] for one in found} == {"its script does not exist"}


async def test_a_dead_letter_that_nobody_takes_lies_in_our_drawer(
    rabbit_server: RabbitServer, broker: RabbitBroker
) -> None:
    """An owner's exchange that does not exist, or leads nowhere, loses nothing."""
    nowhere, missing = f"rmq_{secrets.token_hex(4)}", f"rmq_{secrets.token_hex(4)}"
    rabbit_server.declare(nowhere, {"x-dead-letter-exchange": "amq.direct"})
    rabbit_server.declare(missing, {"x-dead-letter-exchange": "none-such"})
    for name in (nowhere, missing):
        queue = await broker.open(name)
        await queue.publish(body_of(1))
        await (await received(queue)).bury("no reason")
        [letter] = await queue.dead()
        assert letter.message.body == body_of(1)


async def test_a_deleted_queue_takes_nothing_back(
    rabbit_server: RabbitServer, queue: RabbitQueue, name: str
) -> None:
    """Released after its queue was deleted, a message is gone, as the queue's others are."""
    await queue.publish(body_of(1))
    delivery = await received(queue)
    await anyio.to_thread.run_sync(rabbit_server.delete, name)
    await delivery.extend()
    with pytest.raises(MessageGone):
        await delivery.release(NOW)
    assert not ours(rabbit_server, name)


async def test_a_message_that_became_ready_goes_back_untouched_unless_it_is_taken(
    queue: RabbitQueue, rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """To be ready is not to hold: another runner gets it soon, uncounted."""
    await queue.publish(body_of(1))
    await queue.ready()
    async with RabbitBroker(credential(rabbit_server.url), options(tmp_path)) as other:
        delivery = await received(await other.open(queue.name))
        assert delivery.message.receive_count == 1
        await delivery.ack()


async def test_properties_that_nobody_can_read_end_nothing(
    rabbit_server: RabbitServer, queue: RabbitQueue, name: str
) -> None:
    """A timestamp in microseconds costs the message its properties, and nobody anything else."""
    await queue.publish(body_of(1))
    held = await received(queue)
    publish(rabbit_server, name, "{}", timestamp=1_700_000_000_000_000, app_id="theirs")
    delivery = await received(queue)
    assert delivery.message.body == b"{}"
    await delivery.release(NOW)
    again = await received(queue)
    assert again.message.receive_count == 2
    await again.ack()
    await held.ack()
    assert await queue.depth() == 0


async def test_a_message_of_megabytes_is_held_like_any_other(queue: RabbitQueue) -> None:
    """A body of many frames arrives, is parked and renewed, byte for byte."""
    body = bytes(range(256)) * 8192
    await queue.publish(body)
    delivery = await received(queue)
    await delivery.extend()
    await delivery.release(NOW)
    again = await received(queue)
    assert again.message.body == body
    await again.ack()


async def test_a_queue_that_lives_by_votes_is_served_too(
    rabbit_server: RabbitServer, broker: RabbitBroker
) -> None:
    """Quorum queues, which an operator may have made, keep all promises."""
    name = f"rmq_{secrets.token_hex(4)}"
    await anyio.to_thread.run_sync(
        lambda: rabbit_server.declare(name, {"x-queue-type": "quorum"}, durable=True)
    )
    queue = await broker.open(name)
    await queue.publish(body_of(1))
    await queue.ready()
    delivery = await received(queue)
    await delivery.release(NOW)
    again = await received(queue)
    assert again.message.receive_count == 2
    await again.ack()
    assert await queue.depth() == 0
    await anyio.to_thread.run_sync(rabbit_server.delete, name)


async def test_runners_without_room_use_up_no_delivery_limit(
    rabbit_server: RabbitServer, broker: RabbitBroker, tmp_path: Path
) -> None:
    """A quorum queue drops what came back too often: whoever only looks must not be counted."""
    name = f"rmq_{secrets.token_hex(4)}"
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 5}
    await anyio.to_thread.run_sync(lambda: rabbit_server.declare(name, arguments, durable=True))
    async with broker_of(rabbit_server, tmp_path, lease=60) as other:
        queues = [await broker.open(name), await other.open(name)]
        await queues[0].publish(body_of(1))
        with anyio.fail_after(PATIENCE):
            for number in range(8):  # each waits until the one before has given it back
                await queues[number % 2].ready()
        delivery = await received(queues[0])
        assert delivery.message.body == body_of(1)
        assert delivery.message.receive_count == 1
        await delivery.ack()
    await anyio.to_thread.run_sync(rabbit_server.delete, name)


async def test_purging_counts_what_it_removed(queue: RabbitQueue) -> None:
    """What is held stays held."""
    for number in range(3):
        await queue.publish(body_of(number))
    held = await received(queue)
    assert await queue.purge() == 2
    await held.ack()
    assert await queue.depth() == 0


async def test_a_queue_that_is_not_there_is_made_as_clients_make_it(
    rabbit_server: RabbitServer, broker: RabbitBroker
) -> None:
    """Not durable, bound with the key that clients publish with; a durable one stays durable."""
    name, lasting = f"rmq_{secrets.token_hex(4)}", f"rmq_{secrets.token_hex(4)}"
    rabbit_server.declare(lasting, durable=True)
    for one in (name, lasting):
        await (await broker.open(one)).publish(body_of(1))
    assert not rabbit_server.queues()[name]["durable"]
    assert rabbit_server.queues()[lasting]["durable"]
    publish(rabbit_server, name, "{}")
    assert len(waiting(rabbit_server, name)) == 2
    rabbit_server.delete(lasting)


async def test_a_burst_leaves_the_connection_with_few_channels(
    queue: RabbitQueue, rabbit_server: RabbitServer
) -> None:
    """A hundred messages, one after the other, use the same few numbers of channels."""
    for number in range(100):
        await queue.publish(body_of(number))
    with anyio.fail_after(PATIENCE):
        for _ in range(100):
            await (await received(queue)).ack()
    numbers = [channel["number"] for channel in rabbit_server.ask("GET", "channels")]
    assert max(numbers, default=0) < 10
