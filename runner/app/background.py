"""Work that nobody waits for and nobody may fail of, in a task group of the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from runner import log

_log = log.get_logger(__name__)


def in_background(group: TaskGroup) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Return what starts such work; it ends with the group."""

    async def guarded(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - nobody waits for it, nobody may fail of it
            _log.warning("background work failed", trouble=f"{type(error).__name__}: {error}")

    def start(work: Callable[[], Awaitable[None]]) -> None:
        group.start_soon(guarded, work)

    return start
