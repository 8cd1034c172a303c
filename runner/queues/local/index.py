"""The waiting messages of one directory in memory, so that a claim costs no look at all of them."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Collection, Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """A message file as it was last seen; ordered as messages are handed out."""

    #: Nanoseconds.
    mtime: int
    name: str
    #: Nanoseconds; tells a file that was changed from one that only lies there.
    ctime: int


class Index:
    """Oldest first by time of modification, then by name. Used from several threads.

    An index may know names that are gone: whoever pops one finds out. It must not miss any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        #: Noted since ``names`` was last asked for: a look that began before says nothing of them.
        self._fresh: set[str] = set()
        self._noted: list[str] = []
        self._heap: list[Entry] = []
        self._aside: dict[str, int] = {}

    def __len__(self) -> int:
        with self._lock:
            return len(self._known)

    def note(self, name: str) -> None:
        """Remember a name whose file was not looked at yet."""
        with self._lock:
            self._fresh.add(name)
            if name not in self._known:
                self._known.add(name)
                self._noted.append(name)

    def noted(self) -> list[str]:
        """Hand over the noted names; who takes them adds or forgets each."""
        with self._lock:
            names, self._noted = self._noted, []
            self._known.difference_update(names)
            return names

    def add(self, entries: Iterable[Entry]) -> None:
        """Add files that were looked at."""
        with self._lock:
            for entry in entries:
                if entry.name in self._known or self._aside.get(entry.name) == entry.ctime:
                    continue
                self._aside.pop(entry.name, None)
                self._known.add(entry.name)
                heapq.heappush(self._heap, entry)

    def head(self) -> Entry | None:
        """Return the oldest without taking it."""
        with self._lock:
            return self._heap[0] if self._heap else None

    def pop(self) -> Entry | None:
        """Take the oldest out of the index."""
        with self._lock:
            if not self._heap:
                return None
            entry = heapq.heappop(self._heap)
            self._known.discard(entry.name)
            return entry

    def set_aside(self, name: str, ctime: int) -> None:
        """Do not offer this file again before it was changed."""
        with self._lock:
            self._aside[name] = ctime

    def names(self) -> frozenset[str]:
        """Return all names, to be compared with a later look at the directory."""
        with self._lock:
            self._fresh.clear()
            return frozenset(self._known)

    def drop(self, missing: Collection[str]) -> None:
        """Forget names that a look begun after ``names`` did not find."""
        with self._lock:
            gone = set(missing) - self._fresh
            if not gone:
                return
            self._known -= gone
            self._noted = [name for name in self._noted if name not in gone]
            self._heap = [entry for entry in self._heap if entry.name not in gone]
            heapq.heapify(self._heap)
