"""Takes one message of a queue at a time, and none that nobody waits for.

The broker sends messages to whom it knows to listen, at once and without being asked again: two
hundred idle queues cost nothing. We listen for one message, and stop before we take another.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import anyio

from runner.errors import QueueUnavailable
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.channel import Arrived, Channel, Retired
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.line import Line

#: Seconds between the news that there is a message and somebody with room who takes it. It is kept
#: back so long, so that it need not go back to the broker and come again.
_LINGERING = 0.25
#: Quorum queues drop what came back more often than their limit, 20 by default: what came back so
#: often goes to the end of its queue as a fresh message instead.
_MOST_RETURNS = 5


@dataclass(frozen=True, eq=False, slots=True)
class Caught:
    """A message that we have and have not acknowledged, on a channel of its own."""

    channel: Channel
    original: Arrived


class Catcher:
    """Listens to one queue. Used on the engine's loop alone."""

    def __init__(self, line: Line, queue: str) -> None:
        self._line = line
        self._queue = queue
        self._lingering: Caught | None = None

    async def ready(self) -> None:
        """Wait until there is a message; it goes back unless somebody takes it within a moment."""
        if self._lingering is not None and self._lingering.channel.is_open:
            return
        caught = await self._catch()
        before, self._lingering = self._lingering, caught
        ENGINE.spawn(lambda: self._give_back(caught))
        if before is not None:
            await before.channel.close()

    async def take(self) -> Caught:
        """Wait for a message. Raises NoSuchQueue, QueueUnavailable."""
        caught, self._lingering = self._lingering, None
        if caught is not None and caught.channel.is_open:
            return caught
        return await self._catch()

    async def _give_back(self, caught: Caught) -> None:
        await anyio.sleep(_LINGERING)
        if self._lingering is caught:
            self._lingering = None
            with suppress(QueueUnavailable):  # it returns with the channel then, and is counted
                await self._returned(caught.channel, caught.original)
            await caught.channel.close()

    async def _returned(self, channel: Channel, original: Arrived) -> None:
        """Have the broker count nothing: runners without room would use up a queue's limit."""
        properties, body = original.properties, original.body
        if parking.deliveries_of(properties) < _MOST_RETURNS:
            await channel.requeue(original.tag)
            return
        fresh = parking.copy_of(
            properties, parking.id_of(properties, body), parking.receives_of(properties)
        )
        if await channel.publish(body, fresh, queue=self._queue):
            await channel.ack(original.tag)

    async def _catch(self) -> Caught:
        while True:
            channel = await self._line.channel()
            try:
                await channel.consume(self._queue, prefetch=1)
                original = await channel.message(may_move=True)
                await channel.stop_consuming()
                return Caught(channel, original)
            except Retired:
                await channel.close()
            except BaseException:
                await channel.close()
                raise
