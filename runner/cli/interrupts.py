"""Ctrl-C while something is done that must not be cut in two."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def interruptible() -> Iterator[anyio.CancelScope]:
    """Cancel what runs in the block at the first ctrl-C; what it shields is finished first.

    asyncio's own way would cut into a shield. The second ctrl-C does as ever. Used in the main
    thread, in a running loop; whether it was interrupted the scope says (``cancel_called``).
    """
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def stop(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            loop.call_soon_threadsafe(scope.cancel)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield scope
        finally:
            signal.signal(signal.SIGINT, before)
