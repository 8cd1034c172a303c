"""Calls into the event loop of a store, from any thread, that another thread can cut."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from anyio.from_thread import BlockingPortal

from runner.blocking import Interrupted

T = TypeVar("T")
V = TypeVar("V")
Given = TypeVarTuple("Given")

#: A store may be far away.
_AT_ONCE = 8


class Calls:
    """Those that are under way."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._lock = threading.Lock()
        self._open: set[Future[Any]] = set()

    def call(self, function: Callable[[*Given], Awaitable[T]], *args: *Given) -> T:
        """Call in the loop and return what comes back. Raises Interrupted when it is cut."""
        with self._lock:  # who cuts finds all that have begun
            future: Future[T] = self._portal.start_task_soon(function, *args)
            self._open.add(future)
        try:
            return future.result()
        except CancelledError:
            raise Interrupted from None
        finally:
            with self._lock:
                self._open.discard(future)

    def cut(self) -> None:
        """Have all of them raise Interrupted, from any thread, at once."""
        with self._lock:
            under_way = tuple(self._open)
        for future in under_way:
            future.cancel()


def side_by_side(
    function: Callable[[V], T], values: Iterable[V], cut: Callable[[], None]
) -> Iterator[T]:
    """Yield what comes of each, in their order; who is interrupted has ``cut`` end the others."""
    with ThreadPoolExecutor(_AT_ONCE, "store") as threads:
        try:
            yield from threads.map(function, values)
        except BaseException:
            cut()
            raise
