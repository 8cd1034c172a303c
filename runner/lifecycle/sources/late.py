"""A message that an earlier daemon held: held again as soon as its broker can be asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from runner import log
from runner.errors import LeaseLost, MessageGone, QueueUnavailable, RunnerError
from runner.lifecycle.runs.record import Record
from runner.lifecycle.sources.pauses import Pauses
from runner.lifecycle.sources.supply import Supply
from runner.queues.base import Delivery

_log = log.get_logger(__name__)

#: A run whose lease is in doubt waits so long for an answer before it is looked after.
_FIRST_ANSWER = 5.0


class Late(Delivery):
    """Stands for the delivery until there is one.

    Whose credential is gone has nobody to ask: the run goes on, and the message is left to expire.
    A broker that is down is asked until the lease has passed; then the message is lost, and the run
    goes on under its claim record alone (design 5.6).
    """

    def __init__(self, record: Record, supply: Supply, lease: timedelta) -> None:
        super().__init__(record.message, token=record.token, lease=lease)
        self._key = record.key
        self._account = (record.broker, record.project)
        self._supply = supply
        #: Set on the main loop, read on the keeper's.
        self._held: Delivery | None = None
        self._lost: LeaseLost | None = None
        self._is_settled = False
        self._answered = anyio.Event()

    async def seek(self) -> None:
        """Hold it again; returns when that is decided, or when it was settled without."""
        pauses = Pauses()
        await self._supply.complete()
        if self._supply.lacks(self._account):
            _log.warning("its queue is not served", key=self._key, queue=self.message.queue)
            self._answered.set()
        while not self._is_settled:
            try:
                source = await self._supply.opened(self._account)
                tap = await source.tap(self.message.queue)
                self._held = await tap.adopt(self.message, self.token)
            except LeaseLost as error:
                _log.warning("message not held again", key=self._key, trouble=str(error))
                self._lost = error
            except RunnerError as error:
                trouble = QueueUnavailable(str(error))
                pause = pauses.after(trouble)
                _log.warning("not held yet", key=self._key, trouble=str(error), paused=pause)
                await anyio.sleep(pause)
                continue
            self._answered.set()
            return

    def give_up(self) -> None:
        """Seek it no longer: it came back by itself, and is held already."""
        self._is_settled = True
        self._answered.set()

    async def is_lost(self) -> bool:
        """Wait a moment for the answer, and tell whether somebody else may have the message."""
        with anyio.move_on_after(_FIRST_ANSWER):
            await self._answered.wait()
        return self._lost is not None and not isinstance(self._lost, MessageGone)

    @property
    def is_ageing(self) -> bool:
        """See ``Delivery``."""
        return self._held is not None and self._held.is_ageing

    async def send_on(self, mark: str) -> str:
        """See ``Delivery``."""
        return await self._found.send_on(mark)

    async def leave(self) -> None:
        """See ``Delivery``."""
        await self._found.leave()
        self.token = self._found.token

    async def extend(self) -> None:
        """See ``Delivery``."""
        await self._with(lambda held: held.extend())
        if self._held is not None:
            self.token = self._held.token

    async def ack(self) -> None:
        """See ``Delivery``."""
        await self._settled(lambda held: held.ack())

    async def release(self, delay: timedelta) -> None:
        """See ``Delivery``."""
        await self._settled(lambda held: held.release(delay))

    async def bury(self, reason: str) -> None:
        """See ``Delivery``."""
        await self._settled(lambda held: held.bury(reason))

    @property
    def _found(self) -> Delivery:
        if self._held is None:
            raise QueueUnavailable(f"the broker of queue {self.message.queue} was not reached yet")
        return self._held

    async def _settled(self, verb: Callable[[Delivery], Awaitable[None]]) -> None:
        await self._with(verb)
        self._is_settled = True

    async def _with(self, verb: Callable[[Delivery], Awaitable[None]]) -> None:
        if self._held is None and self._lost is not None:
            raise self._lost
        if self._held is not None or not self._supply.lacks(self._account):
            await verb(self._found)
