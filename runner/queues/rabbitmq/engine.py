"""The thread in which all AMQP connections live, with an event loop of its own.

A message that is held dies with its connection, and a connection dies without heartbeats: neither
may depend on a main loop that computes for minutes. One thread serves all brokers of a process; it
runs while one of them is open.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from runner import log
from runner.errors import QueueUnavailable, RunnerError

T = TypeVar("T")

_log = log.get_logger(__name__)


class Engine:
    """Runs coroutine functions on the thread's loop, from any other one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._context: AbstractContextManager[anyio.from_thread.BlockingPortal] | None = None
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._group: TaskGroup | None = None

    def start(self) -> None:
        """Begin to use the thread; the first user starts it, in about a millisecond."""
        with self._lock:
            self._users += 1
            if self._context is None:
                self._context = anyio.from_thread.start_blocking_portal("asyncio", name="amqp")
                self._portal = self._context.__enter__()
                _, self._group = self._portal.start_task(_serve)

    async def stop(self) -> None:
        """End using the thread; the last user waits for its end."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            context, portal = self._context, self._portal
            self._context = self._portal = self._group = None
        if context is None or portal is None:
            return
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: _end(context, portal))

    async def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run it there and wait for its result; raises QueueUnavailable after the end.

        When we are cancelled, so is it, and its end is waited for.
        """
        here, ended = asyncio.get_running_loop(), anyio.Event()

        async def call() -> T:
            try:
                return await function()
            finally:
                here.call_soon_threadsafe(ended.set)

        portal = self._running()
        try:
            return await asyncio.wrap_future(portal.start_task_soon(call))
        except anyio.get_cancelled_exc_class() as error:
            with anyio.CancelScope(shield=True):
                await ended.wait()
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise QueueUnavailable("the broker is closed") from error

    def spawn(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run it for itself until its end or the thread's. Called on the thread's loop."""
        if self._group is not None:
            self._group.start_soon(_guarded, function)

    def _running(self) -> anyio.from_thread.BlockingPortal:
        if self._portal is None:
            raise QueueUnavailable("the broker is closed")
        return self._portal


async def _serve(*, task_status: TaskStatus[TaskGroup]) -> None:
    async with anyio.create_task_group() as group:
        task_status.started(group)
        await anyio.sleep_forever()


async def _guarded(function: Callable[[], Awaitable[object]]) -> None:
    """One connection's trouble is not another's."""
    try:
        await function()
    except Exception as error:  # noqa: BLE001 - nobody waits for it, nobody may fail of it
        unexpected = None if isinstance(error, RunnerError) else error
        _log.warning("amqp", trouble=str(error), exc_info=unexpected)


def _end(
    context: AbstractContextManager[anyio.from_thread.BlockingPortal],
    portal: anyio.from_thread.BlockingPortal,
) -> None:
    portal.call(portal.stop, True)  # noqa: FBT003 - anyio's parameter: cancel what still runs
    context.__exit__(None, None, None)


#: All brokers of this process share it.
ENGINE = Engine()
