"""Which built environments need no look before the next run uses them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds after which one is looked at again, whoever may have changed it: a cleaner of old files,
#: or a person who tried something.
_AGE = 600.0


class Vouched:
    """Remembers which environments were found as they were built.

    That holds only as long as nobody writes to them: where runs see them read-only, and until
    something ran that did not. Used by threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        self._doubted: set[str] = set()
        self._changes = 0

    def holds(self, key: str) -> bool:
        """Tell whether ``key`` was looked at lately, and nobody could change it since then."""
        with self._lock:
            return self._clock() - self._seen.get(key, -_AGE) < _AGE

    @property
    def changes(self) -> int:
        """How often everything was forgotten: to be read before a look, for ``note``."""
        return self._changes

    def note(self, key: str, changes: int) -> None:
        """Remember that ``key`` is as it was built, unless all was forgotten during the look."""
        with self._lock:
            if key not in self._doubted and changes == self._changes:
                self._seen[key] = self._clock()

    def doubt(self, key: str) -> None:
        """Have ``key`` looked at each time from now on: who uses it was not started by us."""
        with self._lock:
            self._doubted.add(key)
            self._seen.pop(key, None)

    def forget(self) -> None:
        """Have everything looked at once more: a package's code ran."""
        with self._lock:
            self._changes += 1
            self._seen.clear()
