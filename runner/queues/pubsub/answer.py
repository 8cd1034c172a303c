"""The answer to a call, awaited so that a cancellation by anyio stays one.

Awaited directly, a call of ``grpc.aio`` swallows the cancellation and raises another, which no
cancel scope knows as its own: it would end the task, and whoever waits for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Call(Awaitable[T_co], Protocol[T_co]):
    """What a stub returns; it goes on by itself, whoever awaits it."""

    def cancel(self) -> bool:
        """End it; ``False`` when it has ended."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have ``callback`` called at its end."""


async def answer(call: Call[T]) -> T:
    """Wait for the answer; a call that is cancelled is cut off. Raises AioRpcError."""
    try:
        await ended(call)
    except anyio.get_cancelled_exc_class():
        call.cancel()
        raise
    return await taken(call)


async def ended(call: Call[T]) -> None:
    """Wait for the end of a call; to be cancelled does nothing to it."""
    end = anyio.Event()
    call.add_done_callback(lambda _: end.set())
    await end.wait()


async def taken(call: Call[T]) -> T:
    """Return the answer of a call that has ended. Raises AioRpcError."""
    with anyio.CancelScope(shield=True):
        result = await call
    return result  # noqa: RET504 - to mypy the scope might have swallowed an exception
