"""Why one attempt must end before its time, asked for by anybody, heard wherever it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from runner.errors import RunnerError
from runner.model import Cause


class Stopper:
    """Carries the first cause that was asked for; only the loss of the experiment overrules it."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.detail = ""
        self._asked = anyio.Event()
        self._lost = anyio.Event()
        self._hurry = anyio.Event()

    @property
    def is_lost(self) -> bool:
        """The experiment is another runner's: nothing of ours may be stored any more."""
        return self._lost.is_set()

    def stop(self, cause: Cause, detail: str = "") -> None:
        """Ask the attempt to end."""
        if cause is Cause.DRAINED:
            self._hurry.set()
        if cause is Cause.LEASE_LOST:
            self._lost.set()
        elif self.cause is not None:
            return
        self.cause, self.detail = cause, detail
        self._asked.set()

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

    @asynccontextmanager
    async def cancels(self, *, only_loss: bool = False) -> AsyncIterator[None]:
        """Cancel the block when a stop is asked for; the block's errors come out bare.

        Used while nothing runs yet that could be stopped in a better way than by cancelling it; or,
        with ``only_loss``, while something is stored. A stop inside ends the block silently, and so
        do the errors of a block that was cancelled: look at ``cause`` afterwards.
        """
        error: Exception | None = None
        event = self._lost if only_loss else self._asked
        async with anyio.create_task_group() as group:

            async def cancel_when_asked() -> None:
                await event.wait()
                group.cancel_scope.cancel()

            group.start_soon(cancel_when_asked)
            try:
                yield
            except Exception as caught:  # noqa: BLE001 - carried past the group, see design 5.1
                error = caught
            group.cancel_scope.cancel()
        if error is not None and not (event.is_set() and isinstance(error, RunnerError)):
            raise error
