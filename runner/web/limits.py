"""What one client of the listener may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in bytes, seconds and requests."""

    #: Bytes of a request's line and headers, and of its body.
    head: int = 16 << 10
    body: int = 64 << 10
    #: Seconds in which a request has to be here whole, and an answer taken.
    patience: float = 10.0
    #: Seconds between two requests of a client that keeps its connection.
    idle: float = 75.0
    #: Requests on one connection.
    requests: int = 10_000
