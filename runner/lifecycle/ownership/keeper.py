"""Keeps every lease from one thread with an event loop of its own.

A main loop that computes for minutes, or a transfer that fills every thread, must never cost a
lease. So renewing and settling happen here; the main loop only posts *hold* and *settle*.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.from_thread

from runner import log
from runner.errors import LeaseLost, RunnerError
from runner.lifecycle.ownership.pulse import Organ, Pulse, beat_on

T = TypeVar("T")

_log = log.get_logger(__name__)


@dataclass(slots=True)
class LeaseCounts:
    """What became of leases since the keeper began; written by its thread, read by any."""

    renewed: int = 0
    #: Renewals that the other side did not confirm; most are made good by the next.
    failed: int = 0
    lost: int = 0


class Held:
    """One promise that is being kept; made by ``Keeper.hold``, ended by ``Keeper.release``."""

    def __init__(
        self,
        name: str,
        beat: Callable[[], Awaitable[None]],
        lease: timedelta,
        lost: Callable[[RunnerError], None],
        *,
        expires: bool,
        renewed: Callable[[], None],
        counts: LeaseCounts,
    ) -> None:
        self.name = name
        self._counts = counts
        self._tell_renewed = renewed
        self._beat = beat
        self._lease = lease.total_seconds()
        self._tell_lost = lost
        self._expires = expires
        self._confirmed = time.monotonic()
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def keep(self) -> None:
        """Renew at a third of the lease until released or lost. Runs on the keeper's loop."""
        try:
            with self._scope:
                pause = self._lease / 3
                while True:
                    await anyio.sleep(pause)
                    pause = await self.renew()
        except LeaseLost as error:
            self._counts.lost += 1
            self._tell_lost(error)
        finally:
            self._ended.set()

    async def let_go(self) -> None:
        """Stop renewing, and a renewal that is under way: one that hangs must not delay settling.

        It may have happened or not; what comes after it must stand both.
        """
        self._scope.cancel()
        await self._ended.wait()

    async def renew(self) -> float:
        """Renew now; return the seconds until the next time. Raises LeaseLost."""
        started = time.monotonic()
        left = max(self._confirmed + self._lease - started, self._lease / 10)
        try:
            # A renewal that hangs on a dead connection is tried anew while there is lease left.
            with anyio.fail_after(min(self._lease / 3, left)):
                await self._beat()
        except LeaseLost:
            raise
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the lease is not renewed
            return self._tolerate(trouble)
        self._confirmed = started
        self._counts.renewed += 1
        self._tell_renewed()
        return self._lease / 3

    def _tolerate(self, trouble: Exception) -> float:
        self._counts.failed += 1
        left = self._confirmed + self._lease - time.monotonic()
        said = str(trouble) or type(trouble).__name__
        unexpected = None if isinstance(trouble, RunnerError | TimeoutError) else trouble
        _log.warning(
            "lease not renewed", lease=self.name, trouble=said, left=left, exc_info=unexpected
        )
        if left <= 0 and self._expires:
            raise LeaseLost(f"{self.name} could not be renewed in time: {said}") from trouble
        return min(self._lease / 10, left) if self._expires else self._lease / 10


class Keeper(AbstractAsyncContextManager["Keeper"]):
    """The thread. Used from the main loop; everything it is given runs on its own loop."""

    def __init__(self, pulse: Pulse | None = None) -> None:
        """``pulse`` is told that the thread makes progress."""
        self.counts = LeaseCounts()
        self._pulse = pulse
        self._portal_context: AbstractContextManager[anyio.from_thread.BlockingPortal] | None = None
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._main: asyncio.AbstractEventLoop | None = None
        #: Touched on the keeper's loop alone.
        self._holding: set[Held] = set()

    async def __aenter__(self) -> Self:
        self._main = asyncio.get_running_loop()
        self._portal_context = anyio.from_thread.start_blocking_portal("asyncio", name="keeper")
        self._portal = self._portal_context.__enter__()
        if self._pulse is not None:
            self._portal.start_task_soon(beat_on, self._pulse, Organ.KEEPER)
        return self

    @property
    def holding(self) -> int:
        """How many promises are being kept."""
        return len(self._holding)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Shielded: what is kept never ends by itself, so the thread would be joined for ever.
        if self._portal is not None:
            with anyio.CancelScope(shield=True):
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
        expires: bool = True,
        renewed: Callable[[], None] = lambda: None,
    ) -> Held:
        """Call ``beat`` often enough to keep ``lease``; ``lost`` is called on the main loop.

        So is ``renewed``, after each beat that came through.

        What does not ``expire`` is lost only when the other side says so, however late: whoever
        holds it makes sure of it again before it is used.
        """
        main = self._loop()

        def tell(error: RunnerError) -> None:
            main.call_soon_threadsafe(lost, error)

        def tell_renewed() -> None:
            main.call_soon_threadsafe(renewed)

        async def begin() -> Held:
            held = Held(
                name, beat, lease, tell, expires=expires, renewed=tell_renewed, counts=self.counts
            )
            self._holding.add(held)
            return held

        with anyio.CancelScope(shield=True):
            held = await self.run(begin)
        self._running().start_task_soon(self._keep, held)
        return held

    async def renew_all(self) -> None:
        """Renew everything once more, side by side: the daemon leaves, and its runs go on."""

        async def renew(held: Held) -> None:
            with suppress(LeaseLost):  # the next daemon will be told the same
                await held.renew()

        async def renew_side_by_side() -> None:
            async with anyio.create_task_group() as group:
                for held in self._holding:
                    group.start_soon(renew, held)

        await self.run(renew_side_by_side)

    async def release(self, held: Held) -> None:
        """Stop keeping; no renewal is under way when this returns."""
        await self.run(held.let_go)

    async def run(self, function: Callable[..., Awaitable[T]], **arguments: object) -> T:
        """Run a coroutine function on the keeper's loop and wait for its result.

        When we are cancelled, so is it, and its end is waited for: what it did has been done when
        we go on, and nothing comes behind our back.
        """
        main, ended = self._loop(), anyio.Event()

        async def call() -> T:
            try:
                return await function(**arguments)
            finally:
                main.call_soon_threadsafe(ended.set)

        try:
            return await asyncio.wrap_future(self._running().start_task_soon(call))
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await ended.wait()
            raise

    def run_from_thread(self, function: Callable[[], Awaitable[T]]) -> T:
        """Do as ``run`` does, from a worker thread that waits for the result."""
        return self._running().call(function)

    async def _keep(self, held: Held) -> None:
        try:
            await held.keep()
        finally:
            self._holding.discard(held)

    def _running(self) -> anyio.from_thread.BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the keeper is used outside its async with block")
        return self._portal

    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._main is None:
            raise RuntimeError("the keeper is used outside its async with block")
        return self._main
