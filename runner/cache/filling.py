"""One fetch into the cache: room, directory, what the fetch did, and the entry it becomes."""

from __future__ import annotations

import errno

from runner import log
from runner.blocking import Stop
from runner.cache import manifest
from runner.cache.base import Fill, Filled, Source
from runner.cache.digest import small_tree_digest
from runner.cache.locks import SHARED, Lock
from runner.cache.manifest import Manifest
from runner.cache.reservation import Reservation, number
from runner.cache.room import ENTRY, Room
from runner.cache.sealing import Sealer
from runner.cache.settling import settle
from runner.cache.shelf import Found, Shelf
from runner.errors import ArtifactBad
from runner.model import Identity

_log = log.get_logger(__name__)


class Filling:
    """Used once; all but ``fill`` blocks."""

    def __init__(self, room: Room, shelf: Shelf, sealer: Sealer, owner: Identity | None) -> None:
        """``owner``: who the files are given to."""
        self._room = room
        self._shelf = shelf
        self._sealer = sealer
        self._owner = owner
        self._reservation = Reservation(room.places, room)
        self._tree = self._reservation.folder / manifest.TREE
        self._inode = 0

    def begin(self, first: int) -> None:
        """Make room for ``first`` bytes, and the directory. Raises NoRoom, OSError."""
        self._room.begin(self._reservation, first)
        self._inode = self._tree.stat().st_ino

    async def fill(self, source: Source, fill: Fill) -> Filled | None:
        """Fetch; ``None`` if the object is another than it was. Raises what ``fill`` raises.

        OSError where the directory was removed meanwhile: then an archive is not to blame.
        """
        try:
            filled = await fill(self._tree, self._reservation.take)
        except ArtifactBad as error:
            if self._is_there():
                raise
            raise FileNotFoundError(errno.ENOENT, "it was removed meanwhile") from error
        if _is_same(source, filled):
            return filled
        _log.info("an artifact was replaced while it was fetched", artifact=shown(source))
        return None

    def settle(self, key: str, source: Source, filled: Filled, lock: Lock, stop: Stop) -> Found:
        """Make an entry of it; ``lock`` is kept until it has its digest. Raises NoRoom, OSError."""
        size = ENTRY + settle(self._tree, self._owner, stop.check)
        if size > self._reservation.amount:
            self._room.grow(self._reservation, size - self._reservation.amount)
        made = Manifest(shown(source), source.info.size, filled.bytes, filled.members)
        if size <= self._sealer.above:
            made = made.sealed(small_tree_digest(self._tree, stop.check))
        made.write(self._reservation.folder)
        lease = Lock(self._room.places.lock(key))
        lease.take(SHARED)
        try:
            name = self._room.publish(self._reservation, key, size)
            lease.write(number(size))
            found = Found(name, self._room.places.entries / name, made)
            self._shelf.trust(found)
            if not made.digest:
                self._sealer.submit(found, lease.pass_on(), lock.pass_on())
        finally:
            lease.close()
        return found

    @property
    def is_open(self) -> bool:
        """Whether there is something to discard."""
        return self._reservation.lock.is_held

    def discard(self) -> None:
        """Remove what became no entry. Raises OSError."""
        self._reservation.discard()

    def _is_there(self) -> bool:
        try:
            return self._tree.stat().st_ino == self._inode
        except OSError:
            return False


def shown(source: Source) -> str:
    """Return where something comes from, without what signed addresses end with."""
    return str(source.location).partition("?")[0]


def _is_same(source: Source, filled: Filled) -> bool:
    """Tell whether what came is what was described when its key was chosen."""
    if filled.info is None:
        return True
    before, after = source.info.checksum, filled.info.checksum
    return filled.info == source.info and (before is None or after is None or before == after)
