"""The lock on the books, and what the entries come to as long as nobody has changed them."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator

from runner.cache.locks import ALONE, Lock
from runner.cache.places import Places, read_name
from runner.cache.removing import names


class Ledger:
    """Held for some system calls at a time. Blocks, and raises OSError.

    Whoever changes the entries writes a new mark first. So a sum is right as long as the mark is
    the one that was there when it was made, and thousands of names need not be read each time. A
    process killed between the mark and the change costs the others one more look.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        #: Of several threads here one asks the other processes, without napping in between.
        self._mutex = threading.Lock()
        self._lock = Lock(places.ledger)
        self._mark = b""
        self._total = 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else reads or changes the books meanwhile."""
        with self._mutex, self._lock:
            self._lock.take(ALONE)
            yield

    def entries(self, *, anew: bool = False) -> int:
        """Return the bytes of all entries; ``anew`` also if somebody removed some by hand."""
        if anew or not self._mark or self._lock.read() != self._mark:
            self._renew()
            self._total = sum(read_name(name)[1] for name in names(self._places.entries))
        return self._total

    @contextlib.contextmanager
    def changing(self, amount: int) -> Iterator[None]:
        """Rename something into the entries, or out of them, whose sum changes by ``amount``."""
        total = self.entries()
        self._renew()
        mark, self._mark = self._mark, b""
        yield
        self._mark, self._total = mark, total + amount

    def _renew(self) -> None:
        self._mark = secrets.token_hex(8).encode()
        self._lock.write(self._mark)
