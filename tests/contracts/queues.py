"""What every broker promises; a backend inherits this and supplies the fixtures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import timedelta

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, RunnerError
from runner.lifecycle.ownership.keeper import Keeper
from runner.model import Message
from runner.queues.base import Broker, Delivery, Inspectable, Queue

NOW = timedelta(0)
#: Seconds for anything that must happen: far more than it takes, so that only a defect is slow.
PATIENCE = 60.0

#: Seconds for which the main loop is blocked, to try it for as long as one likes.
COMPUTING = float(os.environ.get("COMPUTING_SECONDS", "0"))

Connect = Callable[[], AbstractAsyncContextManager[Broker]]


def body_of(number: int) -> bytes:
    """Return a small body of its own."""
    return json.dumps({"experiment": {"key": f"e{number}"}}).encode()


async def received(queue: Queue) -> Delivery:
    """Receive, or fail the test when nothing comes."""
    with anyio.fail_after(PATIENCE):
        return await queue.receive()


async def beaten(delivery: Delivery) -> None:
    """Keep a delivery for ever, as the keeper does."""
    while True:
        await delivery.extend()
        await anyio.sleep(delivery.lease.total_seconds() / 4)


def compute(seconds: float) -> None:
    """Let nothing else run on this thread."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@asynccontextmanager
async def kept(delivery: Delivery) -> AsyncIterator[None]:
    """Keep a delivery while the block runs."""
    async with anyio.create_task_group() as group:
        group.start_soon(beaten, delivery)
        yield
        group.cancel_scope.cancel()


class QueueContract:
    """The promises of ``runner.queues.base``."""

    #: Registry name; set by the subclass.
    backend: str
    #: Messages come oldest first.
    ordered = True
    #: The broker tells how often a message was handed out.
    counts_receives = True
    #: Settling a message that came back to the queue meanwhile is refused by the broker.
    refuses_lost_leases = True
    #: So is adopting it with the token of an earlier holder.
    refuses_old_tokens = True
    #: Queues can be looked into, and dead letters be read.
    inspectable = True
    #: ``depth`` counts the waiting messages, and at once.
    tells_depth = True
    #: ``ready`` waits for a message; elsewhere it returns at once.
    tells_readiness = True
    #: Seconds in which a queue with nothing visible is believed to be so.
    quiet = 0.3

    @pytest.fixture
    def connect(self) -> Connect:
        """Return what opens another broker on the same account, lease 0.5 to a few seconds."""
        raise NotImplementedError

    @pytest.fixture
    def patient(self, connect: Connect) -> Connect:
        """Return what opens brokers whose lease is at least two seconds, for busy machines."""
        return connect

    @pytest.fixture
    def name(self) -> str:
        """Return the name of a queue that no test has used, and that the broker takes."""
        raise NotImplementedError

    async def create(self, name: str) -> None:
        """Create an empty queue as a client would."""
        raise NotImplementedError

    async def delete(self, name: str) -> None:
        """Delete a queue with everything in it."""
        raise NotImplementedError

    async def publish(self, queue: Queue, body: bytes) -> str:
        """Send a message as a client would."""
        assert isinstance(queue, Inspectable)
        return await queue.publish(body)

    async def nothing_in(self, queue: Queue) -> bool:
        """Tell whether the queue hands out nothing for a while."""
        with anyio.move_on_after(self.quiet) as scope:
            delivery = await queue.receive()
            await delivery.release(NOW)
        return scope.cancelled_caught

    @pytest.fixture
    async def broker(self, connect: Connect) -> AsyncIterator[Broker]:
        """Return an open broker."""
        async with connect() as broker:
            yield broker

    @pytest.fixture
    async def queue(self, broker: Broker, name: str) -> Queue:
        """Return an empty queue."""
        await self.create(name)
        return await broker.open(name)

    @pytest.fixture
    def keeper(self) -> Iterator[anyio.from_thread.BlockingPortal]:
        """Return an event loop in another thread."""
        with anyio.from_thread.start_blocking_portal() as portal:
            yield portal

    async def test_a_message_arrives_as_it_was_sent(self, queue: Queue, name: str) -> None:
        """Body, queue name and a first receive count reach the runner."""
        message_id = await self.publish(queue, body_of(1))
        message = (await received(queue)).message
        assert message == Message(message_id, body_of(1), name, 1)

    async def test_a_waiting_receive_is_woken_by_a_new_message(self, queue: Queue) -> None:
        """Nobody has to ask again."""
        async with anyio.create_task_group() as group:
            found: list[Delivery] = []

            async def wait() -> None:
                found.append(await received(queue))

            group.start_soon(wait)
            assert await self.nothing_in(queue)
            await self.publish(queue, body_of(1))
        assert found[0].message.body == body_of(1)

    async def test_a_queue_tells_when_it_is_ready(self, queue: Queue) -> None:
        """It costs no slot to wait for a message; being ready takes nothing."""
        if not self.tells_readiness:
            pytest.skip(f"{self.backend} cannot tell without receiving")
        with anyio.move_on_after(self.quiet) as scope:
            await queue.ready()
        assert scope.cancelled_caught
        await self.publish(queue, body_of(1))
        with anyio.fail_after(PATIENCE):
            await queue.ready()
            await queue.ready()
        await (await received(queue)).ack()

    async def test_the_oldest_comes_first(self, queue: Queue) -> None:
        """Messages are handed out in the order in which they were sent."""
        if not self.ordered:
            pytest.skip(f"{self.backend} does not promise an order")
        bodies = [body_of(number) for number in range(5)]
        for body in bodies:
            await self.publish(queue, body)
        assert [(await received(queue)).message.body for _ in bodies] == bodies

    async def test_a_held_message_is_nobody_elses(
        self, queue: Queue, connect: Connect, name: str
    ) -> None:
        """While it is kept, neither this broker nor another hands it out again."""
        await self.publish(queue, body_of(1))
        delivery = await received(queue)
        async with kept(delivery), connect() as other:
            assert await self.nothing_in(queue)
            assert await self.nothing_in(await other.open(name))

    async def test_extending_keeps_a_message_far_beyond_its_lease(
        self, queue: Queue, connect: Connect, name: str
    ) -> None:
        """A message held for several leases is acknowledged as if it had just come."""
        await self.publish(queue, body_of(1))
        delivery = await received(queue)
        async with connect() as other:
            watching = await other.open(name)
            async with kept(delivery), anyio.create_task_group() as group:
                group.start_soon(watching.receive)
                await anyio.sleep(3 * delivery.lease.total_seconds())
                group.cancel_scope.cancel()
            await delivery.ack()
            assert await self.nothing_in(watching)

    async def test_a_main_loop_that_computes_costs_no_lease(
        self, patient: Connect, name: str
    ) -> None:
        """Pure Python keeps the loop, and the interpreter, to itself for several leases."""
        await self.create(name)
        lost: list[RunnerError] = []
        async with patient() as broker, patient() as other, Keeper() as keeper:
            queue = await broker.open(name)
            await self.publish(queue, body_of(1))
            delivery = await received(queue)
            held = await keeper.hold("m", delivery.extend, lease=delivery.lease, lost=lost.append)
            compute(COMPUTING or 2.5 * delivery.lease.total_seconds())
            await anyio.sleep(0.1)
            assert not lost
            assert await self.nothing_in(await other.open(name))
            await keeper.release(held)
            await delivery.ack()
            assert await self.nothing_in(queue)

    async def test_a_message_that_nobody_keeps_comes_back(self, queue: Queue) -> None:
        """After a lease without ``extend`` the message is handed out again."""
        message_id = await self.publish(queue, body_of(1))
        await received(queue)
        again = await received(queue)
        assert again.message.id == message_id
        await again.ack()

    async def test_a_message_of_a_broker_that_is_gone_comes_back(
        self, queue: Queue, connect: Connect, name: str
    ) -> None:
        """Another runner gets what a dead one held."""
        await self.publish(queue, body_of(1))
        async with connect() as other:
            await received(await other.open(name))
        assert (await received(queue)).message.body == body_of(1)

    async def test_released_without_delay_it_is_visible_at_once(self, queue: Queue) -> None:
        """Release gives the message back, unchanged."""
        await self.publish(queue, body_of(1))
        first = await received(queue)
        await first.release(NOW)
        again = await received(queue)
        assert again.message.body == body_of(1)
        assert again.token != first.token

    async def test_released_with_a_delay_it_is_hidden_first(self, queue: Queue) -> None:
        """Nobody sees the message before the delay is over, then everybody."""
        await self.publish(queue, body_of(1))
        began = anyio.current_time()
        await (await received(queue)).release(timedelta(seconds=1.5))
        again = await received(queue)
        assert again.message.body == body_of(1)
        assert anyio.current_time() - began >= 1.4

    async def test_a_delay_survives_the_broker(
        self, queue: Queue, connect: Connect, name: str
    ) -> None:
        """What one runner released with a delay, another one gets."""
        async with connect() as other:
            await self.publish(queue, body_of(1))
            await (await received(await other.open(name))).release(timedelta(seconds=1))
        assert (await received(queue)).message.body == body_of(1)

    async def test_acknowledged_it_is_forgotten(self, queue: Queue) -> None:
        """A message that was acknowledged does not come back after its lease."""
        await self.publish(queue, body_of(1))
        delivery = await received(queue)
        await delivery.ack()
        await anyio.sleep(2 * delivery.lease.total_seconds())
        assert await self.nothing_in(queue)

    async def test_buried_it_is_not_handed_out_again(self, queue: Queue) -> None:
        """A dead letter is no waiting message."""
        await self.publish(queue, body_of(1))
        delivery = await received(queue)
        await delivery.bury("its script does not exist")
        await anyio.sleep(2 * delivery.lease.total_seconds())
        assert await self.nothing_in(queue)

    async def test_a_dead_letter_keeps_body_and_reason(self, queue: Queue) -> None:
        """What was buried can be read, byte for byte, with the reason."""
        if not isinstance(queue, Inspectable):
            pytest.skip(f"{self.backend} cannot be looked into")
        message_id = await self.publish(queue, body_of(1))
        await (await received(queue)).bury("its script does not exist")
        [letter] = await queue.dead()
        assert (letter.message.id, letter.message.body) == (message_id, body_of(1))
        assert letter.reason == "its script does not exist"

    async def test_a_dead_letter_can_be_sent_again(self, queue: Queue) -> None:
        """Requeued, it is a waiting message and no dead letter; an unknown id is ``False``."""
        if not isinstance(queue, Inspectable):
            pytest.skip(f"{self.backend} cannot be looked into")
        message_id = await self.publish(queue, body_of(1))
        await (await received(queue)).bury("no reason")
        assert not await queue.requeue("another")
        assert await queue.requeue(message_id)
        assert (await received(queue)).message.body == body_of(1)
        assert not await queue.dead()

    async def test_looking_takes_nothing(self, queue: Queue) -> None:
        """Peek and depth tell what waits, and it still waits."""
        if not isinstance(queue, Inspectable):
            pytest.skip(f"{self.backend} cannot be looked into")
        bodies = [body_of(number) for number in range(3)]
        for body in bodies:
            await self.publish(queue, body)
        seen = [message.body for message in await queue.peek(2)]
        assert len(set(seen)) == 2
        assert seen == bodies[:2] if self.ordered else set(seen) < set(bodies)
        if self.tells_depth:
            assert await queue.depth() == 3
        found = await received(queue)
        if self.ordered:
            assert found.message.body == bodies[0]
        if self.tells_depth:
            assert await queue.depth() == 2
        rest = [await received(queue) for _ in bodies[1:]]
        assert {delivery.message.body for delivery in (found, *rest)} == set(bodies)

    async def test_settling_twice_is_settling_once(self, queue: Queue) -> None:
        """The second settling of a delivery does nothing, whatever it is."""
        await self.publish(queue, body_of(1))
        delivery = await received(queue)
        await delivery.ack()
        await delivery.ack()
        await delivery.release(NOW)
        await delivery.bury("never")
        assert await self.nothing_in(queue)

    @pytest.mark.parametrize("verb", ["extend", "ack", "release", "bury"])
    async def test_a_lost_lease_is_said(self, queue: Queue, verb: str) -> None:
        """Nothing can be done with a message that somebody else holds by now."""
        if not self.refuses_lost_leases:
            pytest.skip(f"{self.backend} does not say that a lease is lost")
        await self.publish(queue, body_of(1))
        lost = await received(queue)
        current = await received(queue)
        attempts: dict[str, Callable[[], Awaitable[None]]] = {
            "extend": lost.extend,
            "ack": lost.ack,
            "release": lambda: lost.release(NOW),
            "bury": lambda: lost.bury("no reason"),
        }
        async with kept(current):
            with pytest.raises(LeaseLost):
                await attempts[verb]()
            assert await self.nothing_in(queue)
        await current.ack()

    async def test_a_cancelled_receive_holds_nothing(self, queue: Queue) -> None:
        """Receives that are cancelled at any moment leave every message, uncounted."""
        waiting = 30
        for number in range(waiting):
            await self.publish(queue, body_of(number))
        found: list[Message] = []
        for attempt in range(waiting):
            delivery = None
            with anyio.move_on_after(0.0004 * attempt):
                delivery = await queue.receive()
            if delivery is not None:
                found.append(delivery.message)
                await delivery.ack()
        while len(found) < waiting:
            delivery = await received(queue)
            found.append(delivery.message)
            await delivery.ack()
        assert len({message.id for message in found}) == waiting
        if self.counts_receives:
            assert {message.receive_count for message in found} == {1}

    async def test_a_successor_holds_what_was_held(
        self, queue: Queue, connect: Connect, name: str
    ) -> None:
        """Message and token are enough for a restarted daemon to go on."""
        await self.publish(queue, body_of(1))
        async with connect() as before:
            held = await received(await before.open(name))
            await held.extend()
        async with connect() as after:
            adopted = await (await after.open(name)).adopt(held.message, held.token)
            async with kept(adopted):
                assert await self.nothing_in(queue)
            assert adopted.message == held.message
            await adopted.ack()
        assert await self.nothing_in(queue)

    async def test_what_somebody_else_holds_cannot_be_adopted(
        self, queue: Queue, connect: Connect, name: str
    ) -> None:
        """A restarted daemon that was away for too long hears that its lease is lost."""
        if not self.refuses_old_tokens:
            pytest.skip(f"{self.backend} takes the token of an earlier holder")
        await self.publish(queue, body_of(1))
        async with connect() as before:
            held = await received(await before.open(name))
        current = await received(queue)
        async with kept(current):
            with pytest.raises(LeaseLost):
                await queue.adopt(held.message, held.token)

    async def test_the_receive_count_grows(self, queue: Queue) -> None:
        """Released or expired, a message tells how often it was handed out."""
        if not self.counts_receives:
            pytest.skip(f"{self.backend} does not count")
        await self.publish(queue, body_of(1))
        first = await received(queue)
        await first.release(NOW)
        second = await received(queue)
        third = await received(queue)
        counts = [delivery.message.receive_count for delivery in (first, second, third)]
        assert counts == [1, 2, 3]

    async def test_a_hundred_messages_reach_four_receivers_once(
        self, connect: Connect, name: str
    ) -> None:
        """Two brokers on one queue never both get a message, and none is left out."""
        await self.create(name)
        found: list[bytes] = []
        complete = anyio.Event()
        async with connect() as one, connect() as two, anyio.create_task_group() as group:
            queues = [await one.open(name), await two.open(name)]

            async def work(queue: Queue) -> None:
                while True:
                    delivery = await queue.receive()
                    await delivery.ack()
                    found.append(delivery.message.body)
                    if len(found) == 100:
                        complete.set()

            for queue in [*queues, *queues]:
                group.start_soon(work, queue)
            for number in range(100):
                await self.publish(queues[0], body_of(number))
            with anyio.fail_after(PATIENCE):
                await complete.wait()
            assert await self.nothing_in(queues[1])
            group.cancel_scope.cancel()
        assert sorted(found) == sorted(body_of(number) for number in range(100))

    async def test_queues_are_seen_to_come_and_go(self, broker: Broker, name: str) -> None:
        """Discovery tells the whole set whenever it changes."""
        async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
            with anyio.fail_after(PATIENCE):
                assert name not in await anext(sets)
                await self.create(name)
                assert name in await anext(sets)
                await self.delete(name)
                assert name not in await anext(sets)

    async def test_the_keeper_works_on_another_event_loop(
        self, queue: Queue, keeper: anyio.from_thread.BlockingPortal
    ) -> None:
        """Extending and settling from another thread's loop, the first one being blocked."""
        await self.publish(queue, body_of(1))
        await self.publish(queue, body_of(2))
        first, second = await received(queue), await received(queue)
        keeper.call(first.extend)
        keeper.call(first.ack)
        keeper.call(second.extend)
        keeper.call(second.release, NOW)
        again = await received(queue)
        assert again.message.id == second.message.id
        keeper.call(again.bury, "no reason")
        assert await self.nothing_in(queue)
