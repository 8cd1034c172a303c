"""Gives new files their bytes in a thread of its own, while the reader finds what comes next."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Self

#: Until an archive has shown this many pieces, a thread costs more than it saves.
_FEW = 32
#: What may wait for the disk: bytes, and steps, for each of which a file may be open.
_BYTES, _STEPS = 8 << 20, 128

_Step = Callable[[], None]


class Writer:
    """Used with ``with``, by one thread; a step that failed is raised at a later one.

    The order of all steps is that of the calls. Names are made by the caller: which of two members
    has a name is settled before anything of them is written.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._thread: threading.Thread | None = None
        # The following is guarded by it.
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, _Step]] = deque()
        self._bytes = 0
        self._is_busy = False
        self._is_over = False
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End; after an error of the caller's what still waits is not written."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def write(self, descriptor: int, data: bytes) -> None:
        """Append to a file. Raises OSError of an earlier step."""
        self._do(len(data), lambda: self._unless_over(lambda: _write(descriptor, data)))

    def seek(self, descriptor: int, position: int) -> None:
        """Have the next bytes written elsewhere in a file. Raises as ``write``."""
        self._do(0, lambda: self._unless_over(lambda: _seek(descriptor, position)))

    def finish(self, descriptor: int, mode: int, mtime: int) -> None:
        """Give a file mode and time, and close it, whatever happened. Raises as ``write``."""

        def close() -> None:
            try:
                self._unless_over(lambda: _settle(descriptor, mode, mtime))
            finally:
                os.close(descriptor)

        self._do(0, close)

    def settle(self) -> None:
        """Wait until everything is written. Raises as ``write``."""
        with self._changed:
            while self._waiting or self._is_busy:
                self._changed.wait()
            self._raise()

    def _do(self, size: int, step: _Step) -> None:
        self._seen += 1
        if self._seen <= _FEW:
            step()
            return
        with self._changed:
            while self._waiting and (self._bytes + size > _BYTES or len(self._waiting) >= _STEPS):
                self._changed.wait()
            self._waiting.append((size, step))
            self._bytes += size
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="unpack", daemon=True)
                self._thread.start()
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _unless_over(self, act: _Step) -> None:
        # Looked at without the lock: what is written too much is removed with the rest.
        if not self._is_over and self._error is None:
            act()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            size, step = taken
            error: Exception | None = None
            try:
                step()
            except OSError as trouble:
                error = trouble
            with self._changed:
                self._error = self._error or error
                self._bytes -= size
                self._is_busy = False
                self._changed.notify_all()

    def _next(self) -> tuple[int, _Step] | None:
        with self._changed:
            while not self._waiting:
                if self._is_over:
                    return None
                self._changed.wait()
            self._is_busy = True
            return self._waiting.popleft()


def _settle(descriptor: int, mode: int, mtime: int) -> None:
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(mtime, mtime))


def _seek(descriptor: int, position: int) -> None:
    os.lseek(descriptor, position, os.SEEK_SET)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
