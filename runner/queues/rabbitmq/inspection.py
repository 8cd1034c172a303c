"""Looking into a queue, and writing into it as a StudioML client does."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

from pamqp.commands import Basic

from runner.errors import QueueUnavailable
from runner.model import Message
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.boundary import NoSuchQueue
from runner.queues.rabbitmq.line import Line
from runner.queues.rabbitmq.management import EXCHANGE, KEYS

_PERSISTENT = 2


class Inspection:
    """Of one queue. Used on the engine's loop alone. Raises QueueUnavailable."""

    def __init__(self, line: Line, queue: str) -> None:
        self._line = line
        self._queue = queue

    async def depth(self) -> int:
        """Count the waiting messages."""
        async with self._line.lent() as channel:
            return (await channel.standing(self._queue)).messages

    async def purge(self) -> int:
        """Remove the waiting messages."""
        async with self._line.lent() as channel:
            return await channel.purge(self._queue)

    async def peek(self, limit: int) -> list[Message]:
        """Return the oldest messages; all go back to their places when the channel ends.

        ``receive_count`` is how often one was handed out before.
        """
        found: list[Message] = []
        async with self._line.lent() as channel:
            while len(found) < limit:
                arrived = await channel.get(self._queue)
                if arrived is None:
                    break
                properties, body = arrived.properties, arrived.body
                receives = parking.receives_of(properties)
                found.append(Message(parking.id_of(properties, body), body, self._queue, receives))
        return found

    async def publish(self, body: bytes, message_id: str = "") -> str:
        """Publish as a client does, and return the id; a queue that is not there is made.

        One that is there is left as it is: only its maker knows whether it is durable.
        """
        message_id = message_id or str(uuid.uuid4())
        properties = Basic.Properties(
            content_type="application/json",
            app_id="studioml",
            delivery_mode=_PERSISTENT,
            message_id=message_id,
            timestamp=datetime.fromtimestamp(int(time.time()), UTC),
        )
        await self._make()
        if not await self._through_exchange(body, properties):
            await self._directly(body, properties)
        return message_id

    async def _make(self) -> None:
        try:
            async with self._line.lent() as channel:
                await channel.standing(self._queue)
        except NoSuchQueue:
            async with self._line.lent() as channel:
                await channel.declare_for_client(
                    self._queue, exchange=EXCHANGE, key=f"{KEYS}{self._queue}"
                )

    async def _through_exchange(self, body: bytes, properties: Basic.Properties) -> bool:
        key = f"{KEYS}{self._queue}"
        try:
            async with self._line.lent() as channel:
                return await channel.publish(body, properties, queue=key, exchange=EXCHANGE)
        except NoSuchQueue:  # the exchange: its last queue was deleted
            return False

    async def _directly(self, body: bytes, properties: Basic.Properties) -> None:
        """Reach a queue that is bound to something else, or to nothing."""
        async with self._line.lent() as channel:
            if not await channel.publish(body, properties, queue=self._queue):
                raise QueueUnavailable(f"queue {self._queue} was deleted meanwhile")
