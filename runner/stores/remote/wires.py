"""The HTTP of remote stores: pools with our timeouts, bodies that are read without a copy.

Every client of a remote store sends through ``pool``: a stopped transfer must not wait for the end
of a timeout, wherever in the SDK it waits.
"""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import cast

import urllib3
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from runner import wires
from runner.errors import Misconfigured, StoreUnavailable
from runner.stores.remote.client import Absent, Lasting

#: Seconds to connect, and seconds without a byte.
CONNECT, READ = 10.0, 60.0
_CONNECTIONS = 64


def pool(endpoint: str, **options: object) -> urllib3.PoolManager:
    """Make the pool for ``https://host:port``, with our timeouts; see ``runner.wires.pool``."""
    settings = {
        "timeout": urllib3.Timeout(connect=CONNECT, read=READ),
        "maxsize": _CONNECTIONS,
        **options,
    }
    return wires.pool(endpoint, **settings)


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


class Answer:
    """The body of an answer of ``pool`` (``preload_content=False``): raw, without a copy.

    Half of a ``client.Body``. All its errors are ``urllib3.exceptions.HTTPError``.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        length = response.headers.get("content-length")
        self._left = None if length is None or response.chunked else int(length)
        connection = cast("wires.Plain | None", response.connection)
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
        return Absent(f"{what}: the host name cannot be resolved: {reason}")
    is_refused = isinstance(reason.__cause__, ConnectionRefusedError)
    if is_refused and isinstance(reason, NewConnectionError):
        return Absent(f"{what}: nothing listens there: {reason}")
    return StoreUnavailable(f"{what}: {reason}")
