"""Uploads that could not be aborted when they ended: the store does not answer for ever."""

from __future__ import annotations

import threading
from functools import partial

from runner.blocking import Stop
from runner.errors import RunnerError
from runner.model import Location
from runner.stores.remote.client import Client
from runner.stores.remote.retrying import Attempts


class Leftovers:
    """Tries again when the store is used next, and when it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uploads: set[tuple[Location, str]] = set()

    def add(self, location: Location, upload: str) -> None:
        """Remember the upload."""
        with self._lock:
            self._uploads.add((location, upload))

    def remove(self, client: Client, stop: Stop) -> None:
        """Abort each once; one that fails again is kept."""
        with self._lock:
            uploads, self._uploads = self._uploads, set()
        for location, upload in uploads:
            try:
                is_gone = Attempts(stop).once(partial(client.abort, location, upload))
            except RunnerError:
                is_gone = False
            if not is_gone:
                self.add(location, upload)
