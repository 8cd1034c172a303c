"""Kept trees: the artifact cache on a directory that several daemons of one machine share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio

from runner import blocking, log
from runner.archives.footprint import of_file
from runner.cache.address import address
from runner.cache.base import Cache, Counts, Fill, Kept, NoRoom, Source
from runner.cache.complaints import Complaints
from runner.cache.filling import Filling, shown
from runner.cache.flights import Flights
from runner.cache.locks import SHARED, Lock
from runner.cache.places import Places
from runner.cache.reservation import NoRoomEver
from runner.cache.room import Room
from runner.cache.sealing import Sealer
from runner.cache.shelf import Found, Shelf
from runner.cache.waiting import hold_alone
from runner.errors import HostFault
from runner.model import Bytes, Identity, Stock

T = TypeVar("T")

_log = log.get_logger(__name__)

#: Its digest takes some milliseconds.
_SMALL = Bytes(16 << 20)
#: Some system calls each; never behind work that takes long.
_QUICK = blocking.Limit(8)
#: Reading, giving away or removing whole trees.
_LONG = blocking.Limit(4)


class TreeCache(Cache):
    """Kept trees below ``directory``, together at most ``limit`` bytes of the disk."""

    def __init__(
        self,
        directory: Path,
        limit: Bytes,
        *,
        identity: Identity | None = None,
        watch: bool = False,
        temporary: bool = False,
        small: Bytes = _SMALL,
    ) -> None:
        """``identity``: the user that trees belong to, ``None`` is the daemon's own.

        ``watch``: experiments might change what is kept, as a daemon's own user without a sandbox
        that hides it; then each lease compares the time stamps of the whole tree. ``temporary``:
        all that nobody uses is removed at the end. ``small``: trees up to this size get their
        digest before anybody sees them, larger ones behind the lease.
        """
        self.counts = Counts()
        self._places = Places(directory)
        self._room = Room(self._places, limit, self.counts)
        self._shelf = Shelf(self._room, watch=watch)
        self._flights = Flights()
        self._complaints = Complaints(directory)
        self._identity = identity
        self._owner = os.geteuid() if identity is None else identity.uid
        self._temporary = temporary
        self._sealer = Sealer(small)
        #: Keys of what this cache can never hold.
        self._too_large: set[str] = set()

    @property
    def root(self) -> Path:
        """Return the directory with everything in it, which no experiment has business in."""
        return self._places.root

    async def __aenter__(self) -> Self:
        try:
            await self._call(lambda _: self._open(), long=True)
        except OSError as error:
            self._complaints.trouble(error)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._call(lambda _: self._close(), long=True)

    async def stock(self) -> Stock | None:
        """See ``Cache``."""
        try:
            used = await self._call(lambda _: self._room.used())
        except OSError:
            return None
        return Stock(None, Bytes(used), Bytes(self._room.limit))

    async def give_way(self, wanted: Bytes) -> None:
        """Remove about ``wanted`` bytes of what nobody uses, oldest use first."""

        def shrink(_: blocking.Stop) -> None:
            with contextlib.suppress(OSError):  # a cache that is gone takes no room
                self._room.shrink(self._room.used() - wanted)

        await self._call(shrink, long=True)

    @contextlib.asynccontextmanager
    async def lease(self, source: Source, fill: Fill) -> AsyncIterator[Kept | None]:
        """Have the artifact kept until the block ends; ``None`` when it cannot be kept."""
        with contextlib.ExitStack() as mine:
            yield await self._have(source, fill, mine)

    async def _have(self, source: Source, fill: Fill, mine: contextlib.ExitStack) -> Kept | None:
        key, kept = address(source, self._owner), None
        if key is not None and key not in self._too_large:
            lease = mine.enter_context(Lock(self._places.lock(key)))
            mine.callback(lease.touch)
            try:
                kept = await self._look_or_wait(key, source, fill, lease)
                self._complaints.works()
            except (NoRoom, HostFault, OSError) as error:
                if isinstance(error, NoRoomEver):
                    self._too_large.add(key)
                self._complaints.trouble(error, shown(source))
        self._count(source, kept)
        return kept

    async def _look_or_wait(self, key: str, source: Source, fill: Fill, lease: Lock) -> Kept | None:
        while True:
            kept = await self._call(lambda _: self._trusted(key, lease))
            if kept is not None:
                return kept
            flight = self._flights.find(key)
            if flight is None:
                break
            if not await flight.landed():
                return None
        with self._flights.begin(key) as flight:
            try:
                kept = await self._lead(key, source, fill, lease)
            finally:
                if kept is None:
                    lease.close()
                    self._forget(key)
            if kept is not None:
                flight.succeed()
            return kept

    async def _lead(self, key: str, source: Source, fill: Fill, lease: Lock) -> Kept | None:
        """Have the key for all of this process: check what is there, wait for others, or fetch."""
        kept = await self._checked(key, lease)
        if kept is not None:
            return kept
        with Lock(self._places.filling(key)) as filling:
            await hold_alone(filling)
            try:
                # another process may have fetched it meanwhile
                kept = await self._checked(key, lease)
                if kept is None and await self._call(lambda _: self._clear(key, lease), long=True):
                    kept = await self._fetch(key, source, fill, lease, filling)
            finally:
                with contextlib.suppress(OSError):
                    filling.remove()
        return kept

    async def _fetch(
        self, key: str, source: Source, fill: Fill, lease: Lock, filling: Lock
    ) -> Kept | None:
        work = Filling(self._room, self._shelf, self._sealer, self._identity)
        first = of_file(source.info.size)
        try:
            await self._call(lambda _: work.begin(first), long=True)
            filled = await work.fill(source, fill)
            if filled is None:
                return None
            found = await self._call(
                lambda stop: work.settle(key, source, filled, filling, stop), long=True
            )
            return _kept(key, found, lease, reused=False)
        finally:
            if work.is_open:
                with anyio.CancelScope(shield=True), contextlib.suppress(OSError):
                    await self._call(lambda _: work.discard(), long=True)

    async def _checked(self, key: str, lease: Lock) -> Kept | None:
        """Return what is there if it is right."""
        kept = await self._call(lambda _: self._trusted(key, lease))
        if kept is not None:
            return kept
        found = self._shelf.find(key)
        if found is None or not found.manifest.digest:
            return None
        self.counts.verifications += 1
        if await self._call(lambda stop: self._shelf.verify(found, stop.check), long=True):
            return _kept(key, found, lease, reused=True)
        self.counts.wrong += 1
        _log.warning(
            "a kept artifact was damaged; it is fetched again",
            artifact=found.manifest.source,
            cache=str(self.root),
        )
        return None

    def _trusted(self, key: str, lease: Lock) -> Kept | None:
        """Hold the lease, and return what this process knows to be right; blocks."""
        self._places.heal()
        lease.take(SHARED)
        lease.touch()
        found = self._shelf.find(key)
        if found is None or not self._shelf.is_trusted(found):
            return None
        return _kept(key, found, lease, reused=True)

    def _clear(self, key: str, lease: Lock) -> bool:
        """Remove an entry that is wrong, or was never sealed; False while others use it. Blocks."""
        while (name := self._room.find(key)) is not None:
            lease.close()
            if not self._room.drop(name):
                return False
            lease.take(SHARED)
        return True

    def _forget(self, key: str) -> None:
        """Leave no file of a lock for what is not kept."""
        with contextlib.suppress(OSError):
            if self._room.find(key) is None:
                self._room.forget(key)

    def _open(self) -> None:
        self._places.open()
        self._room.sweep()
        self._room.shrink(self._room.limit)

    def _close(self) -> None:
        self._sealer.close()
        if self._temporary:
            with contextlib.suppress(OSError):
                self._room.remove_all()

    def _count(self, source: Source, kept: Kept | None) -> None:
        if kept is not None and kept.reused:
            self.counts.hits += 1
            self.counts.bytes_saved += source.info.size
        else:
            self.counts.misses += 1

    async def _call(self, function: Callable[[blocking.Stop], T], *, long: bool = False) -> T:
        limit = _LONG if long or self._shelf.is_watched else _QUICK
        return await blocking.call(function, limit=limit)


def _kept(key: str, found: Found, lease: Lock, *, reused: bool) -> Kept:
    about = found.manifest
    return Kept(key, found.tree, about.bytes, about.members, reused, lease.path)
