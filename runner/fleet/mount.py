"""Whether a directory answers at all: a file system over a network may let its callers hang."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import anyio

#: Seconds between two looks at the thread; most answers are there at the first.
_PAUSE = 0.005


class Mount:
    """Asks in a thread that nobody waits for, not even the end of the process."""

    def __init__(self, root: Path, ask: Callable[[Path], object] = os.statvfs) -> None:
        self._root = root
        self._ask = ask
        self._thread: threading.Thread | None = None

    async def wait(self) -> None:
        """Return when the directory has answered, or is not there; meant to be cancelled.

        Who hangs is not asked a second time.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="fleet-mount", daemon=True)
            self._thread.start()
        while self._thread.is_alive():  # noqa: ASYNC110 - who hangs tells nobody
            await anyio.sleep(_PAUSE)
        self._thread = None

    def _look(self) -> None:
        # What is wrong with it, the store says better.
        try:
            self._ask(self._root)
        except OSError:
            return
