"""Waiting for another process's lock without looking again and again, and without being stuck.

The kernel wakes who waits in ``flock`` as soon as the holder closes the file or dies. Nothing
calls a thread back from there, so each wait has one of its own that may be left behind: it ends
with the lock, which it gives back at once, or with the process. (inotify was considered: the
kernel tells that a killed holder closed its file before it lets go of the lock.)
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading

import anyio

from runner.cache.locks import ALONE, Lock


async def hold_alone(lock: Lock) -> None:
    """Hold ``lock`` alone, however long others do. Raises OSError."""
    while not lock.attempt(ALONE):
        wait = _Wait(lock)
        try:
            await wait.over.wait()
        finally:
            wait.leave()
        wait.check()


class _Wait:
    """One thread in ``flock``, and who waits for it."""

    def __init__(self, lock: Lock) -> None:
        self.over = anyio.Event()
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._mutex = threading.Lock()
        self._is_left = False
        self._error: OSError | None = None
        descriptor = os.open(lock.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        thread = threading.Thread(
            target=self._run, args=(descriptor,), name="cache-wait", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            os.close(descriptor)
            raise

    def leave(self) -> None:
        """Take no more interest."""
        with self._mutex:
            self._is_left = True

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def _run(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        os.close(descriptor)
        with self._mutex, contextlib.suppress(RuntimeError):  # the loop was closed
            if not self._is_left:
                self._loop.call_soon_threadsafe(self.over.set)
