"""HTTP connections that another thread can cut: no call outlives its cancellation by a timeout."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Self

import urllib3
import urllib3.connection

from runner.blocking import Interrupted, Stop
from runner.errors import QueueUnavailable

#: Seconds until a connection is made.
CONNECT = 5.0

_here = threading.local()


class Wire:
    """The connection of one call; ``cut`` ends what it waits for, from another thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._is_cut = False

    @classmethod
    @contextlib.contextmanager
    def of(cls, stop: Stop) -> Iterator[Self]:
        """Have what this thread sends in the block be cut when the stop is asked for."""
        wire = cls()
        _here.wire = wire
        try:
            with stop.calling(wire.cut):
                yield wire
        finally:
            _here.wire = None
            wire._release()

    @property
    def is_cut(self) -> bool:
        """Tell whether errors of the connection are our own doing."""
        return self._is_cut

    def cut(self) -> None:
        """End the wait, now and later."""
        with self._changed:
            self._is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not the method of an SSLSocket: that one goes on in clear text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            self._changed.notify_all()

    def hold(self, connected: socket.socket) -> None:
        """Wait on this connection from now on."""
        with self._changed:
            if self._is_cut:
                raise Interrupted
            self._socket = connected

    def connecting(self, connect: Callable[[], None], close: Callable[[], None]) -> None:
        """Connect in a thread that can be left: resolving a name cannot be cut."""
        attempt = _Attempt(connect, close, self._changed)
        threading.Thread(target=attempt.run, name="sqs-connect", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: attempt.is_over or self._is_cut)
            attempt.is_left = not attempt.is_over
        if attempt.is_left:
            raise Interrupted
        if attempt.error is not None:
            raise attempt.error

    def _release(self) -> None:
        """Forget the connection: it is in the pool again, perhaps with another thread."""
        with self._changed:
            self._socket = None


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


class _Plain(urllib3.connection.HTTPConnection):
    """A connection that shows itself to the wire of the thread that uses it."""

    def connect(self) -> None:
        """Connect; left at once when the wire is cut."""
        wire: Wire | None = getattr(_here, "wire", None)
        if wire is None:
            super().connect()
        else:
            wire.connecting(super().connect, self.close)

    def send(self, data: Any) -> None:
        """Send, and wait for the answer on this connection."""
        if self.sock is None:
            self.connect()
        wire: Wire | None = getattr(_here, "wire", None)
        if wire is not None:
            wire.hold(self.sock)
        super().send(data)


class _Secure(_Plain, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


def pool(endpoint: str, connections: int) -> urllib3.PoolManager:
    """Make a pool for ``endpoint`` that keeps so many connections: no retries, no redirects.

    A proxy is used where the environment (``HTTPS_PROXY``, ``NO_PROXY``) says so; other
    authorities than the system's are trusted where ``AWS_CA_BUNDLE`` names them. Raises
    QueueUnavailable.
    """
    settings: dict[str, Any] = {"retries": False, "maxsize": connections}
    if endpoint.startswith("https:"):
        settings["ssl_context"] = _tls(os.environ.get("AWS_CA_BUNDLE") or None)
    url = urllib3.util.parse_url(endpoint)
    proxy = urllib.request.getproxies().get(url.scheme or "")
    if proxy is None or urllib.request.proxy_bypass(url.netloc or ""):
        made = urllib3.PoolManager(**settings)
    else:
        made = urllib3.ProxyManager(proxy, **settings)
    made.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return made


def close(manager: urllib3.PoolManager) -> None:
    """Close the connections of a pool now: ``clear`` leaves that to the garbage collector."""
    for key in manager.pools.keys():  # noqa: SIM118 - it cannot be iterated
        connections = manager.pools.get(key)
        if connections is not None:
            connections.close()
    manager.clear()


@functools.cache
def _tls(authorities: str | None) -> ssl.SSLContext:
    """Read the authorities once: it takes 20 ms. Raises QueueUnavailable."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # also what is wrong inside the file
        raise QueueUnavailable(f"AWS_CA_BUNDLE {authorities} cannot be used: {error}") from error
