"""Open pulls of one subscription: they outlive the receive that was cancelled while it waited.

Cutting off a pull would hide, for the subscription's ack deadline, a message that was already on
its way. So it stays open, the next receive goes on with it, and what nobody wants is given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
import anyio.abc

from runner.errors import LeaseLost, QueueUnavailable
from runner.queues.base import Delivery
from runner.queues.pubsub.term import now

#: Seconds that a message waits at most for the next receive before it is given back.
_LONGEST_GAP = 1.0
#: An empty answer that came sooner is followed by a pause of so many seconds in all.
_SHORTEST = 1.0
_GIVE_BACK_SECONDS = 2.0

#: Returns a message that is held, or ``None`` when there was none. Raises QueueUnavailable.
Pull = Callable[[], Awaitable[Delivery | None]]


@dataclass(eq=False)
class _Parked:
    """A message that came, until somebody takes it."""

    delivery: Delivery
    taken: anyio.Event = field(default_factory=anyio.Event)


class Polls:
    """As many open pulls as there were receives at the same time, on one event loop."""

    def __init__(self, group: anyio.abc.TaskGroup, pull: Pull, lease: timedelta) -> None:
        self._group = group
        self._gap = min(_LONGEST_GAP, lease.total_seconds() / 4)
        self._pull = pull
        self._waiting = 0
        self._open = 0
        self._parked: deque[_Parked] = deque()
        self._trouble: deque[QueueUnavailable] = deque()
        self._news = anyio.Event()

    async def next(self) -> Delivery:
        """Wait for a message; nothing is awaited between its arrival and the return."""
        if not self._waiting:
            self._trouble.clear()  # nobody was there to be told
        self._waiting += 1
        try:
            while True:
                if self._parked:
                    parked = self._parked.popleft()
                    parked.taken.set()
                    return parked.delivery
                if self._trouble:
                    raise self._trouble.popleft()
                self._open_missing()
                await self._news.wait()
        finally:
            self._waiting -= 1

    def _open_missing(self) -> None:
        while self._open < self._waiting:
            self._open += 1
            self._group.start_soon(self._poll)

    async def _poll(self) -> None:
        delivery = None
        try:
            delivery = await self._asked()
        except QueueUnavailable as error:
            if self._waiting:
                self._trouble.append(error)
        finally:
            self._open -= 1
            if delivery is None:
                self._ring()
        if delivery is not None:
            await self._hand_over(_Parked(delivery))

    async def _asked(self) -> Delivery | None:
        began = now()
        delivery = await self._pull()
        if delivery is None:
            await anyio.sleep(max(0.0, began + _SHORTEST - now()))
        return delivery

    async def _hand_over(self, parked: _Parked) -> None:
        self._parked.append(parked)
        self._ring()
        try:
            with anyio.move_on_after(self._gap):
                await parked.taken.wait()
        finally:
            if not parked.taken.is_set():
                self._parked.remove(parked)
                with (
                    anyio.move_on_after(_GIVE_BACK_SECONDS, shield=True),
                    suppress(QueueUnavailable, LeaseLost),
                ):
                    await parked.delivery.release(timedelta(0))

    def _ring(self) -> None:
        self._news.set()
        self._news = anyio.Event()
