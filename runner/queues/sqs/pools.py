"""The connections of the SQS broker: how long they may take to be made, and whom they trust."""

from __future__ import annotations

import functools
import os
import ssl

import urllib3

from runner import wires
from runner.errors import QueueUnavailable

#: Seconds until a connection is made.
CONNECT = 5.0


def pool(endpoint: str, connections: int) -> urllib3.PoolManager:
    """Make a pool for ``endpoint`` that keeps so many connections; see ``runner.wires.pool``.

    Other authorities than the system's are trusted where ``AWS_CA_BUNDLE`` names them. Raises
    QueueUnavailable.
    """
    context = None
    if endpoint.startswith("https:"):
        context = _tls(os.environ.get("AWS_CA_BUNDLE") or None)
    return wires.pool(endpoint, maxsize=connections, ssl_context=context)


@functools.cache
def _tls(authorities: str | None) -> ssl.SSLContext:
    """Read the authorities once: it takes 20 ms. Raises QueueUnavailable."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # also what is wrong inside the file
        raise QueueUnavailable(f"AWS_CA_BUNDLE {authorities} cannot be used: {error}") from error
