"""The one open long poll of a queue, which outlives the receive that opened it.

A poll that is cut off may have taken a message with it, which is hidden for a while then. So a
receive that is cancelled leaves its poll alone: the next receive joins it, and what arrives while
nobody wants it is given back at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
import anyio.abc

from runner import log
from runner.errors import QueueUnavailable, RunnerError
from runner.queues.sqs.delivery import SqsDelivery

_log = log.get_logger(__name__)

_NOW = timedelta(0)
#: Seconds that a message waits for the next receive before it is given back.
_GRACE = 0.25
#: Seconds for giving it back while everything ends.
_LAST = 1.0


class Poll:
    """One request that SQS answers when it has a message, or after some time."""

    def __init__(self) -> None:
        self._over = anyio.Event()
        self._taken = anyio.Event()
        self._delivery: SqsDelivery | None = None
        self._error: Exception | None = None

    async def result(self) -> SqsDelivery | None:
        """Wait for the end; one of those who wait gets the message, all others ``None``."""
        await self._over.wait()
        if isinstance(self._error, RunnerError):
            # Its traceback would grow with everyone who raises it.
            raise type(self._error)(str(self._error)) from self._error
        if self._error is not None:
            raise self._error
        return self._pop()

    async def run(self, receive: Callable[[], Awaitable[SqsDelivery | None]]) -> None:
        """Poll, and give back what nobody takes."""
        try:
            self._delivery = await receive()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        except BaseException:
            self._error = QueueUnavailable("the broker was closed")
            raise
        finally:
            self._over.set()
        try:
            if self._delivery is not None:
                with anyio.move_on_after(_GRACE):
                    await self._taken.wait()
        finally:
            await self._give_back(self._pop())

    def _pop(self) -> SqsDelivery | None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            self._taken.set()
        return delivery

    async def _give_back(self, delivery: SqsDelivery | None) -> None:
        if delivery is None:
            return
        with anyio.move_on_after(_LAST, shield=True):
            try:
                await delivery.release(_NOW)
            except RunnerError as error:
                _log.info("a message comes back by itself", trouble=str(error))


class Polling:
    """Opens polls of one queue, one at a time, in a task group that is not the receivers'."""

    def __init__(
        self,
        group: anyio.abc.TaskGroup,
        receive: Callable[[], Awaitable[SqsDelivery | None]],
    ) -> None:
        self._group = group
        self._receive = receive
        self._open: Poll | None = None

    async def once(self) -> SqsDelivery | None:
        """Wait for the end of the open poll, or of a new one."""
        poll = self._open
        if poll is None:
            poll = self._open = Poll()
            self._group.start_soon(self._run, poll)
        return await poll.result()

    async def _run(self, poll: Poll) -> None:
        try:
            await poll.run(self._receive)
        finally:
            self._open = None
