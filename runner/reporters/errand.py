"""Blocking calls that can be walked away from: nobody waits for a server that hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

import anyio

T = TypeVar("T")


class StillBusy(Exception):
    """The call before, which was left, has not ended."""


class Errands:
    """Runs one call at a time in a thread that ends with the process, whatever it waits for.

    ``blocking.call`` joins its thread before it goes on, as transfers need. News may not keep a
    daemon from ending, and what was posted half does no harm. A thread that was left ends by its
    own timeouts; until then no other is begun, so there is never more than one.
    """

    def __init__(self, name: str, *, seconds: float) -> None:
        """``seconds``: the whole of a call may take so long, however its server dawdles."""
        self._name = name
        self._seconds = seconds
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Return what ``function`` does. Raises what it raises, TimeoutError, StillBusy."""
        if self._thread is not None and self._thread.is_alive():
            raise StillBusy(f"a call of {self._name} has not ended yet")
        errand = _Errand(function)
        thread = self._thread = threading.Thread(target=errand.run, name=self._name, daemon=True)
        thread.start()
        with anyio.fail_after(self._seconds):
            await errand.ended.wait()
        thread.join()  # it has told its end: the next call must not find it alive
        return errand.result()


class _Errand(Generic[T]):
    """One call, whose end is told to a loop that may be gone by then."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.ended = anyio.Event()
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._result: T | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Run in the thread."""
        try:
            self._result = self._function()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.ended.set)

    def result(self) -> T:
        """Return or raise what came of it."""
        if self._error is not None:
            raise self._error
        return cast("T", self._result)
