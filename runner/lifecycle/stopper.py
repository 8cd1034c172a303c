"""Why one attempt must end before its time, asked for by anybody, heard wherever it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from runner.model import Cause


class Stopper:
    """Carries the first cause that was asked for; later ones change nothing."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.detail = ""
        self._asked = anyio.Event()

    def stop(self, cause: Cause, detail: str = "") -> None:
        """Ask the attempt to end."""
        if self.cause is None:
            self.cause, self.detail = cause, detail
            self._asked.set()

    async def wait(self) -> Cause:
        """Wait until somebody asks."""
        await self._asked.wait()
        assert self.cause is not None  # noqa: S101 - set together with the event
        return self.cause

    @asynccontextmanager
    async def cancels(self) -> AsyncIterator[None]:
        """Cancel the block when a stop is asked for; the block's errors come out bare.

        Used while nothing runs yet that could be stopped in a better way than by cancelling it.
        A stop inside ends the block silently: look at ``cause`` afterwards.
        """
        error: BaseException | None = None
        async with anyio.create_task_group() as group:

            async def cancel_when_asked() -> None:
                await self._asked.wait()
                group.cancel_scope.cancel()

            group.start_soon(cancel_when_asked)
            try:
                yield
            except Exception as caught:  # noqa: BLE001 - carried past the group, see design 5.1
                error = caught
            group.cancel_scope.cancel()
        if error is not None:
            raise error
