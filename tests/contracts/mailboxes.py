"""What every broker promises of response queues; a backend inherits this, and supplies fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
import pytest

from runner.errors import QueueGone
from runner.queues.base import Broker
from runner.queues.mailbox import Mailbox

if TYPE_CHECKING:
    from tests.contracts.queues import Connect

#: Seconds for anything that must happen.
PATIENCE = 60.0


class MailboxContract:
    """The promises of ``runner.queues.mailbox``."""

    pytestmark = pytest.mark.anyio

    #: What is posted comes in its order.
    ordered = True

    @pytest.fixture
    def connect(self) -> Connect:
        """Return what opens a broker."""
        raise NotImplementedError

    @pytest.fixture
    def name(self) -> str:
        """Return the name of a queue that experiments come from; it need not exist."""
        raise NotImplementedError

    @pytest.fixture
    async def broker(self, connect: Connect) -> AsyncIterator[Broker]:
        """Open a broker."""
        async with connect() as broker:
            yield broker

    @pytest.fixture
    def mailbox(self, broker: Broker, name: str) -> Mailbox:
        """Return the response queue."""
        found = broker.mailbox(name)
        assert found is not None
        return found

    async def taken(self, broker: Broker, mailbox: Mailbox, count: int) -> list[bytes]:
        """Receive so many messages, and settle them."""
        found: list[bytes] = []
        queue = await broker.open(mailbox.reads)
        with anyio.fail_after(PATIENCE):
            while len(found) < count:
                delivery = await queue.receive()
                found.append(delivery.message.body)
                await delivery.ack()
        return found if self.ordered else sorted(found)

    async def test_nothing_is_made_for_a_report(self, broker: Broker, mailbox: Mailbox) -> None:
        """Where nobody has made a response queue, there is none afterwards either."""
        for _ in range(2):
            with pytest.raises(QueueGone):
                await mailbox.post([b"{}"])
        assert not await broker.exists(mailbox.reads)

    async def test_what_is_posted_arrives(self, broker: Broker, mailbox: Mailbox) -> None:
        """All of it, in clear text and sealed, byte for byte."""
        await mailbox.make()
        bodies = [b'{"time":"1"}', b"QUJD,REVG", '{"text":"\u00fc \u2603"}'.encode()]
        await mailbox.post(bodies)
        wanted = bodies if self.ordered else sorted(bodies)
        assert await self.taken(broker, mailbox, 3) == wanted

    async def test_a_whole_bundle_is_one_call(self, broker: Broker, mailbox: Mailbox) -> None:
        """As many as it says that it takes, and as long."""
        await mailbox.make()
        count = min(mailbox.most, 50)
        size = min(mailbox.longest // mailbox.most, 20_000)
        bodies = [f"{number:04d}".encode() + b"x" * (size - 4) for number in range(count)]
        await mailbox.post(bodies)
        assert await self.taken(broker, mailbox, count) == bodies

    async def test_making_twice_loses_nothing(self, broker: Broker, mailbox: Mailbox) -> None:
        """One that is there is left as it is."""
        await mailbox.make()
        await mailbox.post([b'{"time":"1"}'])
        await mailbox.make()
        assert await self.taken(broker, mailbox, 1) == [b'{"time":"1"}']

    async def test_it_is_found_once_it_is_made(
        self, connect: Connect, broker: Broker, name: str, mailbox: Mailbox
    ) -> None:
        """Somebody else makes it while we post in vain."""
        with pytest.raises(QueueGone):
            await mailbox.post([b"{}"])
        async with connect() as another:
            made = another.mailbox(name)
            assert made is not None
            await made.make()
        await mailbox.post([b'{"time":"2"}'])
        assert await self.taken(broker, mailbox, 1) == [b'{"time":"2"}']

    async def test_nobody_takes_experiments_from_it(self, broker: Broker, mailbox: Mailbox) -> None:
        """A daemon that finds it leaves it alone, whatever its patterns say."""
        await mailbox.make()
        with anyio.fail_after(PATIENCE):
            async for found in broker.discover():
                assert mailbox.reads not in found
                break
