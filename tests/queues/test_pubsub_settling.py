"""Counting, burying, losing and adopting: what Pub/Sub proves, and what our clock has to say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import LeaseLost, MessageGone, QueueUnavailable
from tests.contracts.queues import NOW, received
from tests.queues.pubsub_case import NAME, Project, anyio_backend, one_loop
from tests.servers.pubsub import FakeServer, topic_path

__all__ = ["anyio_backend", "one_loop"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(pubsub_fake: FakeServer, tmp_path: Path) -> Project:
    """Return a new project on the fake."""
    return Project(pubsub_fake, tmp_path)


def policy(project: Project, attempts: int = 50) -> dict[str, object]:
    """Return a dead letter policy."""
    topic = topic_path(project.project, "dead")
    return {"dead_letter_topic": topic, "max_delivery_attempts": attempts}


async def test_a_dead_letter_policy_makes_receives_count(project: Project) -> None:
    """Without one Pub/Sub counts nothing; with one its count is the message's."""
    async with project.queue(dead_letter_policy=policy(project)) as queue:
        await queue.publish(b"{}")
        for times in (1, 2, 3):
            delivery = await received(queue)
            assert delivery.message.receive_count == times
            await delivery.release(NOW)


async def test_cancelled_receives_do_not_count(project: Project) -> None:
    """A message that came in between two receives waits for the second one, uncounted."""
    async with project.queue(dead_letter_policy=policy(project)) as queue:
        for attempt in range(20):
            await queue.publish(b"{}")
            delivery = None
            with anyio.move_on_after(0.0005 * attempt):
                delivery = await queue.receive()
            delivery = delivery or await received(queue)
            assert delivery.message.receive_count == 1
            await delivery.ack()


async def test_a_message_that_nobody_waits_for_is_given_back(project: Project) -> None:
    """A pull that outlived its receive keeps no message from the other runners."""
    await project.create()
    async with project.broker() as idle, project.broker() as other:
        queue = await idle.open(NAME)
        with anyio.move_on_after(0.5):
            await queue.receive()
        message_id = await queue.publish(b"{}")
        with anyio.fail_after(10):  # the subscription would take twice as long by itself
            delivery = await (await other.open(NAME)).receive()
        assert delivery.message.id == message_id
        await delivery.ack()


async def test_dead_letters_go_where_the_owner_wants_them(project: Project) -> None:
    """Body unchanged, the reason as an attribute, and the message is no longer in the queue."""
    await project.create("dead")
    await project.create(dead_letter_policy=policy(project))
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        message_id = await queue.publish(b"broken")
        await (await received(queue)).bury("it is broken")
        letter = (await received(await broker.open("dead"))).message
        assert letter.body == b"broken"
        assert letter.id != message_id
        assert not await queue.dead()


async def test_where_the_owners_place_is_closed_the_letter_is_kept_here(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """Without the right to publish there, nothing is lost."""
    async with project.queue(dead_letter_policy=policy(project)) as queue:
        message_id = await queue.publish(b"broken")
        delivery = await received(queue)
        with pubsub_fake.failing(project.project, "Publish", status="PERMISSION_DENIED"):
            await delivery.bury("it is broken")
        [letter] = await queue.dead()
        assert (letter.message.id, letter.reason) == (message_id, "it is broken")


async def test_burying_is_tried_again_without_a_second_letter(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """The letter was sent and only the acknowledgement failed: the second try sends none."""
    await project.create("dead")
    await project.create(dead_letter_policy=policy(project))
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        await queue.publish(b"broken")
        delivery = await received(queue)
        with (
            pubsub_fake.failing(project.project, "Acknowledge", status="UNAVAILABLE"),
            pytest.raises(QueueUnavailable),
        ):
            await delivery.bury("it is broken")
        await delivery.bury("it is broken")
        dead = await broker.open("dead")
        await (await received(dead)).ack()
        with anyio.move_on_after(0.5) as scope:
            await dead.receive()
        assert scope.cancelled_caught


async def test_a_late_success_proves_nothing(project: Project) -> None:
    """The service answers OK for a lease that is over; our clock does not believe it."""
    async with project.held() as (_, delivery):
        await anyio.sleep(delivery.lease.total_seconds())
        for verb in (delivery.extend, delivery.ack):
            with pytest.raises(LeaseLost, match="not kept in time"):
                await verb()


async def test_exactly_once_delivery_tells_the_truth_at_any_time(project: Project) -> None:
    """Such a subscription knows: a lease that nobody else took is ours, and else it is not."""
    async with project.queue(enable_exactly_once_delivery=True) as queue:
        await queue.publish(b"{}")
        lost = await received(queue)
        current = await received(queue)
        assert current.message.id == lost.message.id
        for verb in (lost.extend, lost.ack):
            with pytest.raises(LeaseLost, match="PERMANENT_FAILURE_INVALID_ACK_ID"):
                await verb()
        await current.extend()
        await current.ack()


async def test_a_message_of_a_deleted_queue_is_gone(project: Project) -> None:
    """Nobody else can have it: that is no lost lease."""
    async with project.held() as (_, delivery):
        await project.delete()
        with pytest.raises(MessageGone):
            await delivery.extend()


async def test_retention_bounds_how_long_a_message_can_be_held(project: Project) -> None:
    """The owner's retention, less the message's age."""
    async with project.queue(message_retention_duration="600s") as queue:
        await queue.publish(b"{}")
        limit = (await received(queue)).hold_limit
        assert limit is not None
        assert timedelta(seconds=500) < limit <= timedelta(seconds=600)


async def test_unknown_settings_stop_nothing(project: Project, pubsub_fake: FakeServer) -> None:
    """Who may consume and not look works all the same."""
    await project.create(message_retention_duration="600s")
    with pubsub_fake.failing(project.project, "GetSubscription", status="PERMISSION_DENIED"):
        async with project.broker() as broker:
            queue = await broker.open(NAME)
            await queue.publish(b"{}")
            delivery = await received(queue)
            assert delivery.hold_limit is None
            await delivery.ack()


async def test_a_successor_needs_the_newest_token(project: Project) -> None:
    """The token of the last renewal is good for a lease; an older one proves nothing."""
    await project.create()
    async with project.broker() as before:
        queue = await before.open(NAME)
        await queue.publish(b"{}")
        held = await received(queue)
        first = held.token
        for _ in range(3):
            await anyio.sleep(held.lease.total_seconds() / 2)
            await held.extend()
        last = held.token
    async with project.broker() as after:
        again = await after.open(NAME)
        with pytest.raises(LeaseLost):
            await again.adopt(held.message, first)
        with pytest.raises(LeaseLost, match="no token"):
            await again.adopt(held.message, "something else")
        await (await again.adopt(held.message, last)).ack()


async def test_exactly_once_delivery_adopts_with_any_token(project: Project) -> None:
    """The service knows whether the message is still ours, so no clock is asked."""
    await project.create(enable_exactly_once_delivery=True)
    async with project.broker() as before:
        queue = await before.open(NAME)
        await queue.publish(b"{}")
        held = await received(queue)
        first = held.token
        for _ in range(3):
            await anyio.sleep(held.lease.total_seconds() / 2)
            await held.extend()
    async with project.broker() as after:
        await (await (await after.open(NAME)).adopt(held.message, first)).ack()


async def test_purging_leaves_what_somebody_holds(project: Project) -> None:
    """What waits is removed and counted; a message in work is not taken from under it."""
    async with project.queue(lease=timedelta(seconds=60)) as queue:
        for _ in range(5):
            await queue.publish(b"{}")
        held = await received(queue)
        assert await queue.purge() == 4
        assert not await queue.peek(10)
        await held.release(NOW)
        assert (await received(queue)).message.id == held.message.id
