"""Something that goes on beside a block of code, without wrapping the block's errors in a group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def alongside(
    task: Callable[[anyio.CancelScope], Coroutine[Any, Any, None]],
) -> AsyncIterator[None]:
    """Run ``task`` until the block ends; it is given the scope that cancels both.

    The block's errors come out bare: a group would wrap them, and who waits for one of ours by
    name would miss it (design 5.1). Errors of ``task`` itself do not.
    """
    error: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(task, group.cancel_scope)
        try:
            yield
        except Exception as caught:  # noqa: BLE001 - carried past the group
            error = caught
        group.cancel_scope.cancel()
    if error is not None:
        raise error
