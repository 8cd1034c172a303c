"""Looking after a cache from outside, beside daemons that use it or without any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.cache import manifest
from runner.cache.base import Counts
from runner.cache.digest import tree_digest
from runner.cache.eviction import Candidate
from runner.cache.locks import SHARED, Lock, is_held
from runner.cache.manifest import TREE, Manifest
from runner.cache.places import Places
from runner.cache.room import OVERHEAD, Room
from runner.cache.shelf import THREADS
from runner.model import Bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, for a person."""

    key: str
    #: ``None``: it cannot be read.
    manifest: Manifest | None
    #: Of the disk.
    bytes: Bytes
    #: Seconds since the epoch.
    used: float
    in_use: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an entry that was checked."""

    entry: Entry
    #: ``right``, ``damaged, removed``, ``damaged, in use``, ``new``
    result: str

    @property
    def is_damaged(self) -> bool:
        """Whether it is not what was fetched."""
        return self.result.startswith("damaged")


class Upkeep:
    """The cache in a directory, if there is one. All methods block, and raise OSError."""

    def __init__(self, directory: Path) -> None:
        self._counts = Counts()
        self._places = Places(directory)
        #: Nothing is reserved through it.
        self._room = Room(self._places, 0, self._counts)

    @classmethod
    def of(cls, directory: Path) -> Upkeep | None:
        """Return the upkeep of a cache that is there and ours. Raises OSError for another's."""
        found = cls(directory)
        if not found._places.exist():
            return None
        found._places.check()
        return found

    def used(self) -> Bytes:
        """Return the bytes that are used or reserved."""
        return Bytes(self._room.used())

    def entries(self) -> list[Entry]:
        """Return all, the last used first."""
        found = sorted(self._room.candidates(), key=lambda one: (-one.used, one.name))
        return [self._entry(one) for one in found]

    def verify(self) -> Iterator[Verdict]:
        """Check the contents of all; damaged ones go, unless they are in use."""
        for one in self._room.candidates():
            entry = self._entry(one)
            if entry.manifest is None or not entry.manifest.digest:
                yield Verdict(entry, "new")
                continue
            digest = self._digest(one)
            if digest is None:
                continue
            if digest == entry.manifest.digest:
                yield Verdict(entry, "right")
            else:
                gone = self._room.drop(one.name)
                yield Verdict(entry, "damaged, removed" if gone else "damaged, in use")

    def _digest(self, one: Candidate) -> str | None:
        """Return the digest of an entry that is not evicted meanwhile; ``None`` if it was before.

        A tree that is being removed has one, too: of what is left of it.
        """
        tree = self._places.entries / one.name / TREE
        with Lock(self._places.lock(one.key)) as lease:
            if lease.attempt(SHARED) and tree.exists():
                return tree_digest(tree, lambda: None, threads=THREADS)
        if not tree.exists():
            self._room.forget(one.key)
        return None

    def prune(self, keep: Bytes) -> int:
        """Remove what dead processes left, then unused entries beyond ``keep`` bytes.

        Returns the number of entries removed.
        """
        self._room.sweep()
        self._room.shrink(keep + OVERHEAD)
        return self._counts.evictions

    def _entry(self, one: Candidate) -> Entry:
        return Entry(
            one.key,
            manifest.read(self._places.entries / one.name),
            Bytes(one.bytes),
            one.used,
            is_held(self._places.lock(one.key)),
        )
