"""A message that is held, over whatever happens to the connection; on the engine's loop alone."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from runner.errors import LeaseLost, QueueUnavailable
from runner.model import Message
from runner.queues.rabbitmq.channel import Arrived
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.line import Line

#: Buries a message, given its body and properties: returns when it lies somewhere safe.
Undertaker = Callable[[Message, Arrived, str], Awaitable[None]]


class Hold(ABC):
    """What is common to both ways of holding: a lease that ends by itself, and one settling.

    The broker keeps what is held as long as the connection lives. So it is us who let go of what
    nobody extends, as the seam promises it.
    """

    def __init__(self, line: Line, source: str, message: Message, lease: timedelta) -> None:
        self.line = line
        self.source = source
        self.message = message
        self.lease = lease.total_seconds()
        #: Enough, with the message, to hold it again after a restart of the daemon.
        self.token = ""
        #: On the monotonic clock: until then the broker lets nobody have it, whatever happens.
        self.deadline = time.monotonic() + self.lease
        self._lock = anyio.Lock()
        self._is_over = False
        self._watch = anyio.CancelScope()

    def begin(self) -> None:
        """Watch the deadline from now on."""
        ENGINE.spawn(self._let_go_in_time)

    async def extend(self) -> None:
        """Hold it for another lease. Raises LeaseLost, QueueUnavailable."""
        async with self._lock:
            self._check()
            # Shorter than the keeper's patience: a connection that hangs is to be noticed by us.
            with anyio.move_on_after(self.lease / 4):
                await self._insist(self._renew)
                return
            await self._suspect()
        raise QueueUnavailable(f"message {self.message.id}: no answer in {self.lease / 4:g} s")

    async def ack(self) -> None:
        """Have the broker forget it."""
        async with self._settling():
            await self._insist(self._forget)

    async def release(self, delay: timedelta) -> None:
        """Give it back, to be seen after ``delay``."""
        async with self._settling():
            await self._insist(lambda: self._return(delay))

    async def bury(self, reason: str, undertaker: Undertaker) -> None:
        """Have it buried, then have the broker forget it."""
        async with self._settling():
            await self._insist(self._in_hand)
            await undertaker(self.message, await self._in_hand(), reason)
            await self._insist(self._forget)

    async def put_back(self) -> None:
        """Undo the receiving, uncounted. Never raises: whoever calls is being cancelled."""
        with anyio.CancelScope(shield=True):
            try:
                async with self._settling():
                    await self._return_uncounted()
            except QueueUnavailable:
                return  # it returns by itself
            except LeaseLost:
                return

    # ------------------------------------------------------------------ what differs

    @abstractmethod
    async def _in_hand(self) -> Arrived:
        """Make sure that it is ours, and return what was received. Raises LeaseLost."""

    @abstractmethod
    def _is_reached(self) -> bool:
        """Tell whether the connection it is held over still stands."""

    @abstractmethod
    async def _renew(self) -> None:
        """Extend, and set the deadline."""

    @abstractmethod
    async def _suspect(self) -> None:
        """Take the connection for dead."""

    @abstractmethod
    async def _forget(self) -> None:
        """Delete it."""

    @abstractmethod
    async def _return(self, delay: timedelta) -> None:
        """Give it back."""

    @abstractmethod
    async def _return_uncounted(self) -> None:
        """Give it back as if it had not been received."""

    @abstractmethod
    async def _let_go(self) -> None:
        """Let others have it: nobody has extended the lease."""

    # ------------------------------------------------------------------ inside

    @asynccontextmanager
    async def _settling(self) -> AsyncIterator[None]:
        async with self._lock:
            self._check()
            yield
            self._is_over = True
            self._watch.cancel()

    async def _insist(self, effect: Callable[[], Awaitable[object]]) -> None:
        """Do it, and do it again over the next connection where this one was lost meanwhile."""
        try:
            await effect()
        except LeaseLost:
            raise
        except QueueUnavailable:
            if self._is_reached():
                raise
            await effect()

    def _check(self) -> None:
        if self._is_over:
            raise LeaseLost(
                f"message {self.message.id} of queue {self.source} was not extended in time: "
                "others may have it"
            )

    async def _let_go_in_time(self) -> None:
        with self._watch:
            while not self._is_over:
                await anyio.sleep(max(0.0, self.deadline - time.monotonic()))
                async with self._lock:
                    if time.monotonic() < self.deadline:
                        continue
                    self._is_over = True
                    with anyio.move_on_after(self.lease / 4):
                        await self._let_go()
                        return
                    await self._suspect()  # it hangs; the broker lets go when it is cut
