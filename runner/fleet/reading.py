"""Reads what the runners of a fleet have told, and judges who is late by the store's own clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO

import anyio

from runner.errors import StoreUnavailable
from runner.fleet.beat import LONGEST, OVER, Beat, decode, is_beat
from runner.fleet.mount import Mount
from runner.fleet.place import FleetPlace
from runner.stores.base import AccessDenied, Entry, Listing, NotFound, Store
from runner.stores.pool import StorePool

#: Who has not beaten for so long is forgotten.
FORGOTTEN = timedelta(days=1)
#: So many beats must be missing.
_MISSED = 3
#: Seconds: what a beat says of its own pace is believed between these.
_LEAST, _MOST = 1.0, 3600.0
#: Seconds that our clock may be behind a store that does not tell its own.
_SKEW = 3600.0
#: Beats that are read at a time.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """One runner as the store knows it."""

    name: str
    #: Seconds since it was written, by the store's clock.
    age: float
    #: ``None``: what lies there is no beat, for the reason in ``unreadable``.
    beat: Beat | None
    unreadable: str = ""

    @property
    def is_over(self) -> bool:
        """It has said that it ends."""
        return self.beat is not None and self.beat.state in OVER

    @property
    def is_late(self) -> bool:
        """It should have told of itself by now."""
        interval = self.beat.interval if self.beat is not None else _LEAST
        return not self.is_over and self.age > _MISSED * min(max(interval, _LEAST), _MOST)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that were seen."""

    runners: tuple[Seen, ...]
    #: Objects that are older than ``FORGOTTEN``.
    forgotten: tuple[Entry, ...]


def now_at(listing: Listing, ours: float) -> float:
    """Return what time it is at the store.

    Where it does not say, it is ours, or that of the newest object where we are a little behind.
    """
    if listing.now is not None:
        return listing.now
    ahead = (one.modified for one in listing.entries if ours < one.modified < ours + _SKEW)
    return max(ahead, default=ours)


def parted(listing: Listing, now: float) -> tuple[list[Entry], list[Entry]]:
    """Part the beats of a folder into those that count and those that are forgotten."""
    beats = [one for one in listing.entries if is_beat(name_of(one))]
    limit = now - FORGOTTEN.total_seconds()
    return (
        [one for one in beats if one.modified >= limit],
        [one for one in beats if one.modified < limit],
    )


@dataclass(eq=False)
class Reader:
    """Looks at a fleet, as often as wanted; what has not changed is not read again."""

    place: FleetPlace
    pool: StorePool
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Callable[[], float] = time.time
    #: Of a directory: keeps us from being kept by it.
    mount: Mount | None = None
    _known: dict[Entry, Beat | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mount is None and self.place.root is not None:
            self.mount = Mount(self.place.root)

    async def look(self) -> Fleet:
        """Return who is there; meant to be cancelled. Raises RunnerError."""
        if self.mount is not None:
            await self.mount.wait()
        store = await self._store()
        listing = await store.folder(self.place.folder)
        now = now_at(listing, self.clock())
        entries, forgotten = parted(listing, now)
        await self._read_all(store, [one for one in entries if one not in self._known])
        self._known = {one: self._known[one] for one in entries if one in self._known}
        runners = [_seen(one, now - one.modified, told) for one, told in self._known.items()]
        return Fleet(tuple(sorted(runners, key=lambda one: one.name)), tuple(forgotten))

    async def remove(self, entries: Iterable[Entry]) -> None:
        """Remove what is forgotten. Raises RunnerError."""
        store = await self._store()
        for one in entries:
            await store.delete(one.location)

    async def _store(self) -> Store:
        request = self.place.request(self.environ)
        return await self.pool.store_for(self.place.folder, request, queue_broker="local")

    async def _read_all(self, store: Store, entries: Iterable[Entry]) -> None:
        limit = anyio.CapacityLimiter(_AT_ONCE)
        away: list[StoreUnavailable] = []

        async def read(entry: Entry) -> None:
            async with limit:
                try:
                    told = await _read(store, entry)
                except StoreUnavailable as error:  # carried past the group, which would wrap it
                    away.append(error)
                else:
                    self._known |= {} if told is None else {entry: told}

        async with anyio.create_task_group() as group:
            for entry in entries:
                group.start_soon(read, entry)
        if away:
            raise away[0]


async def _read(store: Store, entry: Entry) -> Beat | str | None:
    """Return a beat, or why it is none; ``None``: it was removed meanwhile."""
    if entry.size > LONGEST:
        return f"it has {entry.size} bytes"
    try:
        return decode(await store.read(entry.location, _all))
    except NotFound:
        return None
    except (AccessDenied, ValueError) as error:
        return str(error)


def _all(stream: BinaryIO) -> bytes:
    return stream.read(LONGEST + 1)


def _seen(entry: Entry, age: float, told: Beat | str) -> Seen:
    if isinstance(told, Beat):
        return Seen(name_of(entry), max(age, 0.0), told)
    return Seen(name_of(entry), max(age, 0.0), None, told)


def name_of(entry: Entry) -> str:
    """Return an object's name in the folder."""
    return entry.location.key.rpartition("/")[2]
