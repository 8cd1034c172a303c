"""Why one attempt must end before its time, asked for by anybody, heard wherever it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import anyio

from runner.alongside import alongside
from runner.errors import RunnerError
from runner.model import Cause


class Stopper:
    """Carries the first cause that was asked for; only the loss of the experiment overrules it."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.detail = ""
        #: Between TERM and KILL, where there is less time than the run was promised.
        self.grace: timedelta | None = None
        #: Seconds for one try at a store or a broker, where there is little time.
        self.longest_try = float("inf")
        self._is_lost = False
        self._asked = anyio.Event()
        self._unstorable = anyio.Event()
        self._hurry = anyio.Event()
        self._hastened = anyio.Event()

    @property
    def is_lost(self) -> bool:
        """The experiment is another runner's: nothing of ours may be stored any more."""
        return self._is_lost

    def stop(self, cause: Cause, detail: str = "") -> None:
        """Ask the attempt to end."""
        if cause is Cause.DRAINED:
            self._hurry.set()
        if cause is Cause.LEASE_LOST:
            self._is_lost = True
            self._unstorable.set()
        elif self.cause is not None:
            return
        self.cause, self.detail = cause, detail
        self._asked.set()

    def hasten(self, grace: timedelta, longest_try: float) -> None:
        """Say that there is little time; ``give_up`` follows when it is over."""
        self.grace, self.longest_try = grace, longest_try
        self._hastened.set()

    def give_up(self) -> None:
        """Leave what is not stored by now, and settle."""
        self._unstorable.set()

    @property
    def is_hastened(self) -> bool:
        """There is little time."""
        return self._hastened.is_set()

    async def hastened(self) -> None:
        """Wait until there is little time."""
        await self._hastened.wait()

    async def wait(self) -> Cause:
        """Wait until somebody asks."""
        await self._asked.wait()
        assert self.cause is not None  # noqa: S101 - set together with the event
        return self.cause

    async def pause(self, seconds: float) -> bool:
        """Wait between two tries; ``False``, at once, when the daemon stops and none is left."""
        with anyio.move_on_after(seconds):
            await self._hurry.wait()
        return not self._hurry.is_set()

    def cancels(self, *, storing: bool = False) -> AbstractAsyncContextManager[None]:
        """Cancel the block when a stop is asked for; the block's errors come out bare.

        Used while nothing runs yet that could be stopped in a better way than by cancelling it; or,
        with ``storing``, while something is stored, until that must not be or is too late. A stop
        inside ends the block silently, and so do the errors of a block that was cancelled: look at
        ``cause`` afterwards.
        """
        return _cancelled_by(self._unstorable if storing else self._asked)


@asynccontextmanager
async def _cancelled_by(event: anyio.Event) -> AsyncIterator[None]:
    async def cancel_when_set(scope: anyio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    try:
        async with alongside(cancel_when_set):
            yield
    except RunnerError:
        if not event.is_set():
            raise
