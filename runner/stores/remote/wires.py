"""HTTP connections that another thread can cut, whose bodies are read without a copy.

Every client of a remote store sends through ``pool``: a stopped transfer must not wait for the end
of a timeout, wherever in the SDK it waits.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import urllib3
import urllib3.connection
from urllib3.exceptions import HTTPError, NameResolutionError, ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from runner.blocking import Interrupted
from runner.errors import Misconfigured, StoreUnavailable
from runner.stores.remote.client import Lasting

#: Seconds to connect, and seconds without a byte.
CONNECT, READ = 10.0, 60.0
#: ``sendall`` must be done with what it is given within one timeout.
_SLICE = 128 << 10

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


def here() -> Wire | None:
    """Return the wire of the innermost block of this thread."""
    return getattr(_here, "wire", None)


class _Plain(urllib3.connection.HTTPConnection):
    """A connection that shows itself to the wire, and keeps the raw answer for ``Answer``."""

    answer: http.client.HTTPResponse | None = None

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


class _Secure(_Plain, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


def pool(endpoint: str, **options: object) -> urllib3.PoolManager:
    """Make the pool for ``https://host:port``: our timeouts, no retries, no redirects.

    ``options`` are those of ``urllib3.PoolManager``. A proxy is used where the environment
    (``HTTPS_PROXY``, ``NO_PROXY``) says so.
    """
    settings = {
        "timeout": urllib3.Timeout(connect=CONNECT, read=READ),
        "retries": False,
        "maxsize": 64,
        **options,
    }
    proxy = _proxy_for(endpoint)
    made = (
        urllib3.ProxyManager(proxy, **settings)  # type: ignore[arg-type]
        if proxy
        else urllib3.PoolManager(**settings)  # type: ignore[arg-type]
    )
    made.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return made


def tls(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Make the ``ssl_context`` of a pool: once, for reading the authorities takes 20 ms.

    Raises Misconfigured, naming the option, for files that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # also what is wrong inside the file
        raise Misconfigured(f"--s3-ca {ca} cannot be used: {error}") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            raise Misconfigured(
                f"--s3-cert {certificate} with --s3-key {key} cannot be used: {error}"
            ) from error
    return context


def _proxy_for(endpoint: str) -> str | None:
    url = urllib3.util.parse_url(endpoint)
    proxy = urllib.request.getproxies().get(url.scheme or "")
    if proxy is None or urllib.request.proxy_bypass(url.netloc or ""):
        return None
    return proxy


class Answer:
    """The body of an answer of ``pool`` (``preload_content=False``): raw, without a copy.

    Half of a ``client.Body``. All its errors are ``urllib3.exceptions.HTTPError``.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        length = response.headers.get("content-length")
        self._left = None if length is None or response.chunked else int(length)
        connection = cast("_Plain | None", response.connection)
        # An empty body gave its connection back already.
        self._raw = connection.answer if connection else None

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` as far as the body goes; 0 only at its end."""
        if self._raw is None or not buffer:
            return 0
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError as error:
            raise HTTPTimeoutError(f"no byte came for {READ:g} seconds") from error
        except ssl.SSLError as error:
            raise SSLError(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ProtocolError(f"the connection broke: {error}") from error
        if self._left is not None:
            self._left -= count
            if not count and self._left:
                raise ProtocolError(f"the answer ended {self._left} bytes early")
        return count

    def close(self) -> None:
        """Give the connection back when all was read, else close it."""
        if self._raw is not None and not self._raw.isclosed():
            self._response.close()
        self._response.release_conn()


def unavailable(what: str, error: HTTPError, *, authority: str = "--s3-ca") -> StoreUnavailable:
    """Say of ``what`` (an address) that it cannot be reached, and why; the table of ``pool``.

    ``authority`` is what names the authorities that are trusted.
    """
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(reason):
        return Lasting(
            f"{what}: the server's certificate is not trusted: {reason}; name the file of its "
            f"authority ({authority})"
        )
    if isinstance(reason, NameResolutionError):
        return StoreUnavailable(f"{what}: the host name cannot be resolved: {reason}")
    return StoreUnavailable(f"{what}: {reason}")
