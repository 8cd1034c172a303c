"""The books of the bound: who may use how many bytes, before they are used, over all processes.

The names of the entries and the numbers in the reservations are the books; there is no total on the
disk that could differ from them. So a process killed at any instant leaves nothing to repair: at
the worst a reservation whose lock is free and whose directory has less in it. What is removed is
counted until it is gone.
"""

from __future__ import annotations

import contextlib
import os

from runner.archives.footprint import INODE
from runner.cache import manifest
from runner.cache.base import Counts, NoRoom
from runner.cache.eviction import Candidate, victims
from runner.cache.ledger import Ledger
from runner.cache.locks import ALONE, SHARED, Lock, wait_until_free
from runner.cache.places import Places, entry_name, read_name
from runner.cache.removing import names
from runner.cache.reservation import GONE, NoRoomEver, Removal, Reservation, number, read_number

#: Our own directories, and what a file system keeps for them.
OVERHEAD = 64 << 10
#: An entry besides what is in its tree: two directories, manifest, locks, reservation.
ENTRY = 6 * INODE
#: Reservations grow by a quarter, within these limits: the books are not read for each file.
_SMALLEST_STEP, _LARGEST_STEP = 64 << 10, 32 << 20


class Room:
    """The bytes below one directory. Everything here blocks, and raises OSError."""

    def __init__(self, places: Places, limit: int, counts: Counts) -> None:
        self.places = places
        self.limit = limit
        self._counts = counts
        self._ledger = Ledger(places)

    def used(self) -> int:
        """Return the bytes that are used or reserved."""
        with self._ledger.held():
            return self._used()

    def begin(self, reservation: Reservation, first: int) -> None:
        """Make room for ``first`` bytes and an empty tree. Raises NoRoom."""
        with self._ledger.held():
            reservation.lock.take(ALONE)
            reservation.lock.write(number(0))
        self.grow(reservation, ENTRY + first)
        (reservation.folder / manifest.TREE).mkdir(mode=0o700, parents=True)

    def grow(self, reservation: Reservation, missing: int) -> None:
        """Add at least ``missing`` bytes, evicting what is in nobody's way. Raises NoRoom."""
        if OVERHEAD + reservation.amount + missing > self.limit:
            raise NoRoomEver(f"it takes more than the {self.limit} bytes of the cache")
        step = min(max(reservation.amount // 4, _SMALLEST_STEP), _LARGEST_STEP)
        for more in (max(missing, step), missing) if reservation.amount else (missing,):
            short = self._try(reservation, more)
            while short > 0 and self._free(short):
                short = self._try(reservation, more)
            if short <= 0:
                return
        raise NoRoom(f"all but {missing} of the cache's {self.limit} bytes are in use")

    def publish(self, reservation: Reservation, key: str, size: int) -> str:
        """Make an entry of what was reserved and filled; return its name."""
        name = entry_name(key, size)
        with self._ledger.held():
            with self._ledger.changing(size):
                reservation.folder.rename(self.places.entries / name)
            reservation.lock.remove()
        return name

    def shrink(self, limit: int) -> None:
        """Evict until no more than ``limit`` bytes are used, as far as others let us."""
        while (short := self.used() - max(limit, OVERHEAD)) > 0 and self._free(short):
            pass

    def sweep(self) -> None:
        """Remove what dead processes left."""
        with self._ledger.held():
            dying = self._abandoned()
            dying += [one for one in map(self._unsealed, names(self.places.entries)) if one]
            known = set(names(self.places.reservations))
            orphans = [name for name in names(self.places.staging) if name not in known]
            dying += [self._removal(name) for name in orphans]
        for one in dying:
            one.finish()
        kept = dict(map(read_name, names(self.places.entries)))
        for key, size in kept.items():
            self._point(key, size)
        for name in names(self.places.locks):
            if name not in kept:
                self.forget(name)

    def _point(self, key: str, size: int) -> None:
        """Have the lock's file of an entry say which it is, after a power cut, say."""
        if read_number(self.places.lock(key)) != size:
            with Lock(self.places.lock(key)) as lease:
                if lease.attempt(SHARED):
                    lease.write(number(size))

    def remove_all(self) -> None:
        """Remove everything that nobody uses; the directory, too, if nothing else is in it."""
        self.sweep()
        self.shrink(0)
        if self.used() <= OVERHEAD:
            self.places.remove()

    def forget(self, name: str) -> None:
        """Remove a lock's file, unless somebody holds it."""
        with Lock(self.places.locks / name) as lock:
            if lock.attempt(ALONE):
                lock.remove()

    def drop(self, name: str) -> bool:
        """Remove one entry unless somebody uses it."""
        with self._ledger.held():
            dying = self._doom(Candidate(name, *read_name(name), used=0))
        return dying is not None and dying.finish()

    def find(self, key: str) -> str | None:
        """Return the name of an entry, whatever its lock's file says."""
        found = (name for name in names(self.places.entries) if name.startswith(f"{key}-"))
        return next(found, None)

    def candidates(self) -> list[Candidate]:
        """Return all entries."""
        times = self._last_uses()
        found = []
        for name in names(self.places.entries):
            key, size = read_name(name)
            if key:
                found.append(Candidate(name, key, size, times.get(key, 0)))
        return found

    def _last_uses(self) -> dict[str, float]:
        times = {}
        with os.scandir(self.places.locks) as locks:
            for lock in locks:
                with contextlib.suppress(FileNotFoundError):
                    times[lock.name] = lock.stat(follow_symlinks=False).st_mtime
        return times

    def _used(self, *, anew: bool = False) -> int:
        folder = self.places.reservations
        reserved = sum(read_number(folder / name) for name in names(folder))
        return OVERHEAD + self._ledger.entries(anew=anew) + reserved

    def _try(self, reservation: Reservation, more: int) -> int:
        """Add ``more`` bytes if they are free; return how many are not."""
        with self._ledger.held():
            short = self._used() + more - self.limit
            if short > 0:
                short = self._used(anew=True) + more - self.limit
            if short <= 0:
                reservation.set(reservation.amount + more)
            return short

    def _free(self, short: int) -> bool:
        """Free ``short`` bytes as far as can be; False when nothing was, by nobody."""
        with self._ledger.held():
            dying = self._abandoned()
            dying += self._doomed(short - sum(one.amount for one in dying))
            folder = self.places.reservations
            others = [name for name in names(folder) if name.endswith(GONE)] if not dying else []
        if dying:
            return sum(one.finish() for one in dying) > 0
        for name in others:
            wait_until_free(folder / name)
        return bool(others)

    def _abandoned(self) -> list[Removal]:
        """Return the reservations of dead processes, which are ours to remove now."""
        found = map(self._removal, names(self.places.reservations))
        return [one for one in found if one.lock.attempt(ALONE)]

    def _doomed(self, short: int) -> list[Removal]:
        candidates, held, doomed = self.candidates(), set[str](), list[Removal]()
        while going := victims(candidates, short, held):
            held.add(going[0].name)
            dying = self._doom(going[0])
            if dying is not None:
                doomed.append(dying)
                short -= going[0].bytes
                self._counts.evictions += 1
        return doomed

    def _doom(self, one: Candidate) -> Removal | None:
        """Move an entry that nobody uses aside, to be removed."""
        with Lock(self.places.lock(one.key)) as lease:
            if not lease.attempt(ALONE):
                return None
            dying = Removal.new(self.places)
            dying.set(one.bytes)
            try:
                with self._ledger.changing(-one.bytes):
                    (self.places.entries / one.name).rename(dying.folder)
            except FileNotFoundError:
                dying.lock.remove()
                return None
            lease.remove()
            return dying

    def _unsealed(self, name: str) -> Removal | None:
        """Move an entry aside whose digest nobody will compute any more."""
        found = manifest.read(self.places.entries / name)
        key, size = read_name(name)
        if (found is not None and found.digest) or not key:
            return None
        with Lock(self.places.filling(key)) as filling:
            if not filling.attempt(ALONE):
                return None
            return self._doom(Candidate(name, key, size, used=0))

    def _removal(self, name: str) -> Removal:
        return Removal(self.places, name)
