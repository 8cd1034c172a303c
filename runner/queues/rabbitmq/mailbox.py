"""Reports through StudioML's exchange, as the original sends them (protocol section 2.10)."""

from __future__ import annotations

from collections.abc import Sequence

from pamqp.commands import Basic

from runner.errors import QueueGone
from runner.queues.mailbox import Mailbox, response_name
from runner.queues.rabbitmq.boundary import Forbidden, NoSuchQueue
from runner.queues.rabbitmq.channel import Channel
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.line import Line
from runner.queues.rabbitmq.management import EXCHANGE, KEYS

#: They outlive a restart of the broker where their queue does.
_PROPERTIES = Basic.Properties(content_type="text/plain", app_id="studioml", delivery_mode=2)


class RabbitMailbox(Mailbox):
    """Every report is confirmed before the next one is sent: a restart of the broker loses none.

    A queue that is not bound to the exchange, or that we may not reach through it, is reached by
    its name.
    """

    def __init__(self, queue: str, line: Line) -> None:
        name = response_name(queue)
        super().__init__(name, name)
        self._line = line
        self._is_bound = True

    async def post(self, bodies: Sequence[bytes]) -> None:
        """Publish them over a channel of their own."""
        await ENGINE.run(lambda: self._post(bodies))

    async def make(self) -> None:
        """Make the queue and its binding as a client does."""
        await ENGINE.run(self._make)

    # ------------------------------------------------------------------ on the engine's loop

    async def _post(self, bodies: Sequence[bytes]) -> None:
        # Where the last ones went; what could not be sent the one way is sent the other.
        rest = await self._send(bodies, by_exchange=self._is_bound)
        if rest:
            self._is_bound = not self._is_bound
            rest = await self._send(rest, by_exchange=self._is_bound)
        if rest:
            self._is_bound = True
            raise QueueGone(f"there is no queue {self.name}")

    async def _send(self, bodies: Sequence[bytes], *, by_exchange: bool) -> Sequence[bytes]:
        """Return those that no queue took, from the first one on."""
        sent = 0
        try:
            async with self._line.lent() as channel:
                for body in bodies:
                    if not await self._is_taken(channel, body, by_exchange=by_exchange):
                        break
                    sent += 1
        except NoSuchQueue:  # the exchange: nothing was ever bound to it
            return bodies[sent:]
        except Forbidden:
            if not by_exchange:
                raise
            return bodies[sent:]
        return bodies[sent:]

    async def _is_taken(self, channel: Channel, body: bytes, *, by_exchange: bool) -> bool:
        if by_exchange:
            key = f"{KEYS}{self.name}"
            return await channel.publish(body, _PROPERTIES, queue=key, exchange=EXCHANGE)
        return await channel.publish(body, _PROPERTIES, queue=self.name)

    async def _make(self) -> None:
        try:
            async with self._line.lent() as channel:
                await channel.standing(self.name)
        except NoSuchQueue:
            async with self._line.lent() as channel:
                await channel.declare_for_client(
                    self.name, exchange=EXCHANGE, key=f"{KEYS}{self.name}"
                )
