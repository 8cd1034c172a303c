"""What waits for a process of its own, begun while the start goes on with other things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")


class Ahead(Generic[T]):
    """What ``work`` will have returned; its error ends the group it runs in.

    It is seen to its end, which has to be bounded: a process that is cut off while it is being
    started is nobody's.
    """

    def __init__(self, group: TaskGroup, work: Callable[[], Awaitable[T]]) -> None:
        self._results = list[T]()
        self._is_over = anyio.Event()
        group.start_soon(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[T]]) -> None:
        with anyio.CancelScope(shield=True):
            self._results.append(await work())
        self._is_over.set()

    async def result(self) -> T:
        """Wait for it, and return it."""
        await self._is_over.wait()
        return self._results[0]
