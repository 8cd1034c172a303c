"""Holding without parking, where no queue may be made: the original stays unacknowledged.

It returns as soon as the connection is lost, or the daemon restarted; after the broker's
``consumer_timeout`` (half an hour by default) it does in any case.
"""

from __future__ import annotations

import time
from datetime import timedelta

import anyio

from runner.errors import LeaseLost
from runner.model import Message
from runner.queues.rabbitmq.catching import Caught
from runner.queues.rabbitmq.channel import Arrived
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.holding import Hold
from runner.queues.rabbitmq.line import Line

#: How the tokens of such messages begin.
UNPARKED = "unparked."


class UnparkedHold(Hold):
    """As long as its channel is open."""

    def __init__(
        self, line: Line, source: str, message: Message, lease: timedelta, *, caught: Caught
    ) -> None:
        super().__init__(line, source, message, lease)
        self._channel = caught.channel
        self._original = caught.original
        # Nobody can hold it again; but every time it is held is another one.
        self.token = f"{UNPARKED}{id(self):x}.{time.monotonic_ns():x}"

    async def _in_hand(self) -> Arrived:
        if not self._is_reached():
            self._is_over = True
            raise LeaseLost(
                f"the connection that held message {self.message.id} of queue {self.source} was "
                "lost, and the user of RabbitMQ may make no queues to keep it in"
            )
        return self._original

    def _is_reached(self) -> bool:
        return self._channel.is_open

    async def _renew(self) -> None:
        began = time.monotonic()
        await self._in_hand()
        if not self._channel.is_blocked:
            await self._channel.ping()
        self.deadline = began + self.lease

    async def _suspect(self) -> None:
        self._channel.condemn()

    async def _forget(self) -> None:
        await self._in_hand()
        await self._channel.ack(self._original.tag)
        await self._channel.ping()
        await self._channel.close()

    async def _return(self, delay: timedelta) -> None:
        """Give it back; for ``delay`` we keep it ourselves, as there is no other place."""
        await self._in_hand()
        seconds = delay.total_seconds()
        if seconds > 0:
            ENGINE.spawn(lambda: self._close_after(seconds))
        else:
            await self._channel.close()

    async def _return_uncounted(self) -> None:
        await self._channel.close()

    async def _let_go(self) -> None:
        await self._channel.close()

    async def _close_after(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._channel.wait_for_end()
        await self._channel.close()
