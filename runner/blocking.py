"""Blocking calls off the event loop: bounded in number, stoppable, joined before we go on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from runner.errors import HostFault

T = TypeVar("T")

#: How the threading module says that the system gives no more.
_NO_THREAD = "can't start new thread"


class Interrupted(BaseException):
    """Raised inside a worker thread by ``Stop.check`` once its awaiting task was cancelled.

    A ``BaseException`` so that no library's ``except Exception`` swallows it.
    """


class Stop:
    """A flag that a blocking function looks at between two pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Callable[[], object]] = []

    def set(self) -> None:
        """Ask the function to end at its next check."""
        with self._lock:
            self._event.set()
            calls = tuple(self._calls)
        for call_it in calls:
            call_it()

    @property
    def is_set(self) -> bool:
        """Tell whether the stop was asked for."""
        return self._event.is_set()

    def check(self, *_: object) -> None:
        """Raise ``Interrupted`` when the stop was asked for; takes whatever a callback gets."""
        if self._event.is_set():
            raise Interrupted

    def pause(self, seconds: float) -> None:
        """Sleep; ``Interrupted`` as soon as the stop is asked for."""
        if self._event.wait(seconds):
            raise Interrupted

    @contextlib.contextmanager
    def calling(self, end: Callable[[], object]) -> Iterator[None]:
        """Have ``end`` called when the stop is asked for inside the block, or was before.

        It ends a wait that no check is made in, a read from a socket. It runs in the stopper's
        thread, returns at once and raises nothing; it may come just after the block was left.
        """
        with self._lock:
            self._calls.append(end)
            was_set = self._event.is_set()
        if was_set:
            end()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(end)


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


class _Work(Generic[T]):
    """One call in a thread, whose end can be awaited although its awaiter was cancelled.

    anyio offers to wait deaf to cancellation or to walk away from the thread; we walk away, ask
    the function to stop, and then wait for it after all.
    """

    def __init__(self, function: Callable[[Stop], T]) -> None:
        self._function = function
        self._stop = Stop()
        self._lock = threading.Lock()
        self._has_begun = False
        self._is_over = False
        self._tell: Callable[[], object] | None = None

    def run(self) -> T | None:
        """Run in the thread; nothing at all when ``stopped`` came first."""
        with self._lock:
            if self._is_over:
                return None
            self._has_begun = True
        try:
            return self._function(self._stop)
        except Interrupted:
            return None
        finally:
            with self._lock:
                self._is_over, tell = True, self._tell
            if tell is not None:
                tell()

    async def stopped(self) -> None:
        """Ask the function to stop, and wait for its end."""
        loop, ended = asyncio.get_running_loop(), anyio.Event()
        self._stop.set()
        with self._lock:
            self._is_over = self._is_over or not self._has_begun
            if self._is_over:
                return
            self._tell = lambda: loop.call_soon_threadsafe(ended.set)
        with anyio.CancelScope(shield=True):
            await ended.wait()


async def call(function: Callable[[Stop], T], *, limit: Limit) -> T:
    """Run ``function`` in a thread and wait for its end, also when we are cancelled.

    On cancellation the function's ``Stop`` is set, its end is awaited, and only then does the
    cancellation go on: nothing writes behind our back. Its result is lost then, so what must be
    undone has to be undone by the function.
    """
    work = _Work(function)
    try:
        result = await anyio.to_thread.run_sync(
            work.run, abandon_on_cancel=True, limiter=limit.limiter()
        )
    except anyio.get_cancelled_exc_class():
        await work.stopped()
        raise
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        raise HostFault(
            "this user has as many processes and threads as it may (ulimit -u, TasksMax=)"
        ) from error
    return cast("T", result)
