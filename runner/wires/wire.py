"""The connection of one call, held where another thread can cut it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from runner.blocking import Interrupted, Stop

_here = threading.local()


class Wire:
    """The connection of what is called in the block; ``cut`` ends it from another thread.

    After the block too, until ``release``: the body of an answer is read then.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._is_cut = False
        self._before: Wire | None = None

    @classmethod
    @contextlib.contextmanager
    def of(cls, stop: Stop) -> Iterator[Self]:
        """Have what this thread sends in the block be cut when the stop is asked for."""
        wire = cls()
        with stop.calling(wire.cut):
            try:
                with wire:
                    yield wire
            finally:
                wire.release()

    def __enter__(self) -> Self:
        self._before = here()
        _here.wire = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _here.wire = self._before

    @property
    def is_cut(self) -> bool:
        """Tell whether errors of the connection are our own doing."""
        return self._is_cut

    def release(self) -> None:
        """Forget the connection: it is in the pool again, perhaps with another thread."""
        with self._changed:
            self._socket = None

    def cut(self) -> None:
        """End what the thread waits for, now and later: its call fails or is Interrupted."""
        with self._changed:
            self._is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not the method of an SSLSocket: that would go on in clear text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            self._changed.notify_all()

    def hold(self, connected: socket.socket) -> None:
        """Use this connection from now on."""
        with self._changed:
            if self._is_cut:
                raise Interrupted
            self._socket = connected

    def connecting(self, connect: Callable[[], None], close: Callable[[], None]) -> None:
        """Connect in a thread that can be left: no system call that resolves names can be cut."""
        attempt = _Attempt(connect, close, self._changed)
        threading.Thread(target=attempt.run, name="connect", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: attempt.is_over or self._is_cut)
            attempt.is_left = not attempt.is_over
        if attempt.is_left:
            raise Interrupted
        if attempt.error is not None:
            raise attempt.error


def here() -> Wire | None:
    """Return the wire of the innermost block of this thread."""
    return getattr(_here, "wire", None)


class _Attempt:
    """One connecting, which closes again what nobody waits for any more."""

    def __init__(
        self,
        connect: Callable[[], None],
        close: Callable[[], None],
        changed: threading.Condition,
    ) -> None:
        self._connect = connect
        self._close = close
        self._changed = changed
        self.error: BaseException | None = None
        self.is_over = self.is_left = False

    def run(self) -> None:
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error
        with self._changed:
            self.is_over = True
            self._changed.notify_all()
            is_left = self.is_left
        if is_left:
            self._close()
