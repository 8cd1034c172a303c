"""Blocking calls off the event loop: bounded in number, stoppable, joined before we go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")


class Interrupted(BaseException):
    """Raised inside a worker thread by ``Stop.check`` once its awaiting task was cancelled.

    A ``BaseException`` so that no library's ``except Exception`` swallows it.
    """


class Stop:
    """A flag that a blocking function looks at between two pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the function to end at its next check."""
        self._event.set()

    def check(self, *_: object) -> None:
        """Raise ``Interrupted`` when the stop was asked for; takes whatever a callback gets."""
        if self._event.is_set():
            raise Interrupted


class Limit:
    """At most ``threads`` calls at a time, counted per event loop.

    anyio's limiters belong to one loop, and the keeper has a loop of its own: a transfer that
    fills the main loop's threads can never delay a lease.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar(
            f"limit-{id(self)}"
        )

    def limiter(self) -> anyio.CapacityLimiter:
        """Return this loop's limiter, made at the first use."""
        found = self._limiter.get(None)
        if found is None:
            found = anyio.CapacityLimiter(self._threads)
            self._limiter.set(found)
        return found


async def call(function: Callable[[Stop], T], *, limit: Limit) -> T:
    """Run ``function`` in a thread and wait for its end, also when we are cancelled.

    On cancellation the function's ``Stop`` is set, the thread is joined, and only then does the
    cancellation go on: nothing writes behind our back.
    """
    stop = Stop()
    result: list[T] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function(stop))
        except Interrupted:
            pass
        except BaseException as caught:  # noqa: BLE001 - carried to the awaiting task, bare
            error.append(caught)

    async with anyio.create_task_group() as group:
        finished = anyio.Event()

        async def set_on_cancel() -> None:
            try:
                await finished.wait()
            finally:
                stop.set()

        group.start_soon(set_on_cancel)
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(run, limiter=limit.limiter())
        finally:
            finished.set()
    if error:
        raise error[0]
    if not result:  # interrupted: the cancellation that asked for it is raised here
        await anyio.lowlevel.checkpoint()
    return result[0]
