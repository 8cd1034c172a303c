"""Pools of connections that show themselves to the wire of the thread that uses them."""

from __future__ import annotations

import http.client
import urllib.request
from typing import Any

import urllib3
import urllib3.connection

from runner.wires.wire import here

#: ``sendall`` must be done with what it is given within one timeout.
_SLICE = 128 << 10


class Plain(urllib3.connection.HTTPConnection):
    """A connection that shows itself to the wire, and keeps the raw answer for who reads it."""

    answer: http.client.HTTPResponse | None = None

    def __str__(self) -> str:
        """Name the server: urllib3 begins the sentence about a connection that failed with this."""
        return f"{self.host}:{self.port}"

    def connect(self) -> None:
        """Connect; left at once when the wire is cut."""
        wire = here()
        if wire is None:
            super().connect()
        else:
            wire.connecting(super().connect, self.close)

    def send(self, data: Any) -> None:
        """Send; a large body in slices, each with the timeout to itself."""
        if self.sock is None:
            self.connect()
        wire = here()
        if wire is not None:
            wire.hold(self.sock)
        if isinstance(data, bytes | bytearray | memoryview):
            whole = memoryview(data).cast("B")
            for start in range(0, len(whole), _SLICE):
                super().send(whole[start : start + _SLICE])
        else:
            super().send(data)

    def response_class(  # type: ignore[override]
        # http.client makes its answers through this attribute
        self,
        *args: object,
        **kwargs: object,
    ) -> http.client.HTTPResponse:
        """Make the raw answer of the request that was sent last."""
        self.answer = http.client.HTTPResponse(*args, **kwargs)  # type: ignore[arg-type]
        return self.answer


class _Secure(Plain, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


def pool(endpoint: str, **options: object) -> urllib3.PoolManager:
    """Make the pool for ``https://host:port``: no retries, no redirects.

    ``options`` are those of ``urllib3.PoolManager``. A proxy is used where the environment
    (``HTTPS_PROXY``, ``NO_PROXY``) says so.
    """
    settings: dict[str, Any] = {"retries": False, **options}
    proxy = _proxy_for(endpoint)
    made = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)
    made.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return made


def close(manager: urllib3.PoolManager) -> None:
    """Close the idle connections of a pool now: ``clear`` leaves that to the garbage collector.

    Nobody may be using the pool: what is asked for later fails.
    """
    for key in manager.pools.keys():  # noqa: SIM118 - it cannot be iterated
        connections = manager.pools.get(key)
        if connections is not None:
            connections.close()
    manager.clear()


def _proxy_for(endpoint: str) -> str | None:
    url = urllib3.util.parse_url(endpoint)
    proxy = urllib.request.getproxies().get(url.scheme or "")
    if proxy is None or urllib.request.proxy_bypass(url.netloc or ""):
        return None
    return proxy
