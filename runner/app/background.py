"""Work that nobody waits for and nobody may fail of, in a task group of the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from runner.lifecycle.chore import Chore


def in_background(group: TaskGroup) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Return what starts such work; it ends with the group."""

    def start(work: Callable[[], Awaitable[None]]) -> None:
        group.start_soon(Chore("something in the background", work).once)

    return start
