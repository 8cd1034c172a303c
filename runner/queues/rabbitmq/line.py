"""The way to the broker: one connection, made when it is needed and made again when it was lost."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from runner import log
from runner.errors import QueueUnavailable, RunnerError
from runner.queues.rabbitmq.account import Account
from runner.queues.rabbitmq.channel import Channel
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.wire import Wire, connected

_log = log.get_logger(__name__)

#: Seconds before the second attempt, the most before any, and the same as a part of the lease: what
#: is held must be reached again in time. Each pause is drawn below twice as much.
_PAUSE, _LONGEST_PAUSE, _PART = 0.1, 10.0, 1 / 20
#: A connection that lasted so long was a good one.
_LASTING = 10.0


@dataclass(eq=False)
class _Attempt:
    """One attempt to connect, for all who wait."""

    done: anyio.Event = field(default_factory=anyio.Event)
    wire: Wire | None = None
    error: RunnerError | None = None


class Line:
    """Gives channels. Used on the engine's loop alone.

    However many wait, there is one attempt at a time, after pauses that grow and are drawn by lot:
    a broker that comes back is not run over by all its clients at once.
    """

    def __init__(self, account: Account, *, owner: str, timeout: float, lease: timedelta) -> None:
        self._account = account
        self._name = f"studio-runner {owner}"
        self._timeout = timeout
        self._wire: Wire | None = None
        self._retired: list[Wire] = []
        self._attempt: _Attempt | None = None
        self._pause = 0.0
        self._longest_pause = min(_LONGEST_PAUSE, lease.total_seconds() * _PART)
        self._connected_at = 0.0
        self._is_closed = False
        #: How many connections there were.
        self.epoch = 0
        #: Of this connection: queues may not be made, so that nothing can be parked.
        self.parks = True

    async def channel(self) -> Channel:
        """Return a new channel. Raises QueueUnavailable, QueueDenied."""
        wire = await self._open_wire()
        return await wire.open()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Channel]:
        """Return a channel that ends with the block."""
        channel = await self.channel()
        try:
            yield channel
        finally:
            await channel.close()

    def change(self, account: Account) -> None:
        """Log in anew from now on; what is held over the old connection stays until it is settled.

        Whoever waits for a message there, waits for it on the new one.
        """
        self._account = account
        self.parks = True
        self._pause = 0.0
        wire, self._wire = self._wire, None
        if wire is not None:
            self._retired.append(wire)
            wire.retire()

    async def close(self) -> None:
        """End all connections: what is held goes back to where it was."""
        self._is_closed = True
        wires, self._wire, self._retired = [self._wire, *self._retired], None, []
        for wire in wires:
            if wire is not None:
                await wire.close()

    async def _open_wire(self) -> Wire:
        if self._is_closed:
            raise QueueUnavailable("the broker is closed")
        if self._wire is not None and self._wire.is_open:
            return self._wire
        attempt = self._attempt
        if attempt is None:
            attempt = self._attempt = _Attempt()
            ENGINE.spawn(lambda: self._connect(attempt))
        await attempt.done.wait()
        if attempt.wire is None:
            raise type(attempt.error or QueueUnavailable())(str(attempt.error)) from attempt.error
        return attempt.wire

    async def _connect(self, attempt: _Attempt) -> None:
        try:
            await anyio.sleep(self._next_pause())
            account = self._account
            attempt.wire = await connected(
                account, self._name, patience=self._timeout, spawn=ENGINE.spawn
            )
        except RunnerError as error:
            attempt.error = error
        else:
            await self._begin(attempt.wire, account)
        finally:
            self._attempt = None
            attempt.done.set()

    async def _begin(self, wire: Wire, account: Account) -> None:
        if self._is_closed:
            await wire.close()
            return
        self.epoch += 1
        self.parks = True
        self._connected_at = time.monotonic()
        self._retired = [old for old in self._retired if not old.is_over]
        if account is self._account:
            self._wire = wire
        else:  # it was changed meanwhile
            self._retired.append(wire)
            wire.retire()

    def _next_pause(self) -> float:
        if self._connected_at and time.monotonic() - self._connected_at > _LASTING:
            self._pause = self._connected_at = 0.0
        pause = self._pause
        self._pause = min(max(2 * pause, _PAUSE), self._longest_pause)
        return pause * 2 * random.random()  # noqa: S311 - no secret
