"""Waking tasks of one event loop, also from other threads."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio


class Bell:
    """Rings for everybody who listens now. Made on the loop that it belongs to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = anyio.Event()

    def listen(self) -> anyio.Event:
        """Return what the next ring sets; asked for before looking, so that no ring is missed."""
        return self._event

    def ring(self) -> None:
        """Wake all who listen."""
        event, self._event = self._event, anyio.Event()
        event.set()

    def ring_from_afar(self) -> None:
        """Wake them from any thread; nobody is left to wake once their loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.ring)
