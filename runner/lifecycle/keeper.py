"""Keeps every lease from one thread with an event loop of its own.

A main loop that computes for minutes, or a transfer that fills every thread, must never cost a
lease. So renewing and settling happen here; the main loop only posts *hold* and *settle*.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.from_thread

from runner import log
from runner.errors import LeaseLost, RunnerError, Unavailable

T = TypeVar("T")

_log = log.get_logger(__name__)


class Held:
    """One promise that is being kept; made by ``Keeper.hold``, ended by ``Keeper.release``."""

    def __init__(
        self,
        name: str,
        beat: Callable[[], Awaitable[None]],
        lease: timedelta,
        lost: Callable[[RunnerError], None],
    ) -> None:
        self.name = name
        self._beat = beat
        self._lease = lease.total_seconds()
        self._tell_lost = lost
        self._confirmed = time.monotonic()
        self._released = anyio.Event()
        self._ended = anyio.Event()

    async def keep(self) -> None:
        """Renew at a third of the lease until released or lost. Runs on the keeper's loop."""
        try:
            pause = self._lease / 3
            while not await self._is_released_within(pause):
                pause = await self._renew()
        except LeaseLost as error:
            self._tell_lost(error)
        finally:
            self._ended.set()

    async def let_go(self) -> None:
        """Stop renewing, and wait for a renewal that is under way."""
        self._released.set()
        await self._ended.wait()

    async def _is_released_within(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._released.wait()
        return self._released.is_set()

    async def _renew(self) -> float:
        started = time.monotonic()
        try:
            # A renewal that hangs on a dead connection is tried anew while there is lease left.
            with anyio.fail_after(self._lease / 3):
                await self._beat()
        except (Unavailable, TimeoutError) as trouble:
            if isinstance(trouble, LeaseLost):
                raise
            left = self._confirmed + self._lease - time.monotonic()
            _log.warning("lease not renewed", lease=self.name, trouble=str(trouble), left=left)
            if left <= 0:
                raise LeaseLost(f"{self.name} could not be renewed in time: {trouble}") from trouble
            return min(self._lease / 10, left)
        self._confirmed = started
        return self._lease / 3


class Keeper(AbstractAsyncContextManager["Keeper"]):
    """The thread. Used from the main loop; everything it is given runs on its own loop."""

    def __init__(self) -> None:
        self._portal_context: AbstractContextManager[anyio.from_thread.BlockingPortal] | None = None
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._main: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._main = asyncio.get_running_loop()
        self._portal_context = anyio.from_thread.start_blocking_portal("asyncio", name="keeper")
        self._portal = self._portal_context.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._portal is not None:
            await self.run(self._portal.stop, cancel_remaining=True)
        if self._portal_context is not None:
            self._portal_context.__exit__(None, None, None)
        self._portal = None

    async def hold(
        self,
        name: str,
        beat: Callable[[], Awaitable[None]],
        *,
        lease: timedelta,
        lost: Callable[[RunnerError], None],
    ) -> Held:
        """Call ``beat`` often enough to keep ``lease``; ``lost`` is called on the main loop."""
        main = self._loop()

        def tell(error: RunnerError) -> None:
            main.call_soon_threadsafe(lost, error)

        async def begin() -> Held:
            return Held(name, beat, lease, tell)

        held = await self.run(begin)
        self._running().start_task_soon(held.keep)
        return held

    async def release(self, held: Held) -> None:
        """Stop keeping; no renewal is under way when this returns."""
        await self.run(held.let_go)

    async def run(self, function: Callable[..., Awaitable[T]], **arguments: object) -> T:
        """Run a coroutine function on the keeper's loop and wait for its result."""

        async def call() -> T:
            return await function(**arguments)

        return await asyncio.wrap_future(self._running().start_task_soon(call))

    def _running(self) -> anyio.from_thread.BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the keeper is used outside its async with block")
        return self._portal

    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._main is None:
            raise RuntimeError("the keeper is used outside its async with block")
        return self._main
