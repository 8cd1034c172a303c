"""Looking at entries: what there is of a key, and whether it still is what it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.archives.signature import signature
from runner.cache import manifest
from runner.cache.digest import tree_digest
from runner.cache.manifest import Manifest
from runner.cache.places import entry_name
from runner.cache.reservation import read_number
from runner.cache.room import Room

Check = Callable[[], object]

#: Cores that one check keeps busy.
THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Found:
    """A complete entry."""

    name: str
    path: Path
    manifest: Manifest

    @property
    def tree(self) -> Path:
        """Return where the artifact's files are."""
        return self.path / manifest.TREE


class Shelf:
    """The entries, and which of them this process has checked."""

    def __init__(self, room: Room, *, watch: bool) -> None:
        self._room = room
        #: Trusting takes a walk over the tree each time.
        self.is_watched = watch
        #: Nonce -> signature of the tree, where trees are watched.
        self._trusted: dict[str, str] = {}
        self._wrong: set[str] = set()

    def find(self, key: str) -> Found | None:
        """Return the entry of a key, if it is complete; some system calls. Raises OSError.

        The file of its lock says which it is. Where that is not so, it is not found, and removed
        before another one is made.
        """
        size = read_number(self._room.places.lock(key))
        if not size:
            return None
        name = entry_name(key, size)
        path = self._room.places.entries / name
        found = manifest.read(path)
        if found is None or found.nonce in self._wrong:
            return None
        return Found(name, path, found)

    def is_trusted(self, found: Found) -> bool:
        """Tell whether this process fetched or checked it, and nobody changed it since; blocks."""
        known = self._trusted.get(found.manifest.nonce)
        return known is not None and known == self._signature(found.tree)

    def trust(self, found: Found) -> None:
        """Take for right what this process has just fetched."""
        self._trusted[found.manifest.nonce] = self._signature(found.tree)

    def verify(self, found: Found, check: Check) -> bool:
        """Compare the contents with the digest, and remember the answer; blocks."""
        before = self._signature(found.tree)
        if tree_digest(found.tree, check, threads=THREADS) == found.manifest.digest:
            self._trusted[found.manifest.nonce] = before
            return True
        self._trusted.pop(found.manifest.nonce, None)
        self._wrong.add(found.manifest.nonce)
        return False

    def _signature(self, tree: Path) -> str:
        return signature(tree) if self.is_watched else ""
