"""The seam to the artifact cache: what an immutable artifact holds, fetched once, shared by all.

Promises held by ``tests/contracts/cache.py`` for every backend:

* What is kept is exactly what the store has: the length and checksum were compared before.
* One fetch however many ask at the same time, in this process and in others on the machine.
* The bytes on disk never exceed the bound, also not while something is being fetched.
* What is leased, or locked by a living supervisor, is never removed.
* A process killed at any instant leaves nothing that could be taken for a whole entry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from runner.model import Bytes, Location, Stock
from runner.stores.base import ObjectInfo


@dataclass(frozen=True, slots=True)
class Source:
    """What is wanted, as its store described it to the experiment's own credentials just now."""

    location: Location
    info: ObjectInfo
    #: An archive whose members are wanted; else one file named as its key ends.
    unpack: bool
    #: Who says so: ``Account.endpoint`` of the store that was asked, wherever it says more than
    #: the location does. Nothing is ever shared between two of them.
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fetch put into the directory it was given."""

    #: Of contents, as ``Unpacked.bytes``.
    bytes: Bytes
    members: int
    #: What the store said of the very bytes that came; if that is not what ``Source`` has, the
    #: object was replaced in between and is not kept. ``None``: the fetch made sure by itself.
    info: ObjectInfo | None = None


Fill = Callable[[Path, Callable[[int], None]], Awaitable[Filled]]
"""Fetches into an empty directory; calls the function with the number of bytes of the disk about
to be used, as ``archives.footprint`` counts them, before they are. That function blocks and is to
be called where files are written, in the worker thread, as ``take`` of ``unpack`` and
``place_file``. It raises NoRoom, which the fill lets through."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The content of an artifact; valid while its lease is held. Not to be changed by anybody."""

    key: str
    #: A directory whose entries are the artifact's. Owned by the user experiments run as.
    root: Path
    #: Of contents, as the fill told; to be compared with the disk need of who asks.
    bytes: Bytes
    members: int
    #: It was there already.
    reused: bool
    #: A shared ``flock`` on this file keeps the entry, too: for the supervisor of a run.
    lock: Path


class NoRoom(Exception):
    """The cache cannot hold the object now: no failure, it is fetched without the cache."""


@dataclass(slots=True)
class Counts:
    """What a cache has done since its process began; for metrics."""

    #: Leases of what was there, or what another experiment was just fetching.
    hits: int = 0
    #: Leases for which something was fetched, with or without being kept.
    misses: int = 0
    #: Of objects, that were not sent again.
    bytes_saved: int = 0
    #: Entries whose contents were compared with their digest.
    verifications: int = 0
    #: Of those, the ones that were not right.
    wrong: int = 0
    evictions: int = 0


class Cache(AbstractAsyncContextManager["Cache"], ABC):
    """Kept artifacts below one directory."""

    counts: Counts

    @property
    @abstractmethod
    def root(self) -> Path:
        """Return the directory with everything in it, which no experiment has business in."""

    async def give_way(self, wanted: Bytes) -> None:
        """Remove about ``wanted`` bytes of what nobody uses, oldest use first."""

    async def stock(self) -> Stock | None:
        """Tell how full it is; ``None`` where that cannot be known now."""
        return None

    @abstractmethod
    def lease(self, source: Source, fill: Fill) -> AbstractAsyncContextManager[Kept | None]:
        """Have the artifact kept until the block ends; ``None`` when it cannot be kept.

        Nothing is wrong then: it is larger than the bound or all else is in use, or the directory
        is full, gone or read-only (logged once). What ``fill`` raises comes out, to everybody who
        waits for the same; but one waiter's being cancelled is no other's concern, nor is its disk
        need: after TooLarge the next one tries with its own ``fill``. OutOfDisk and HostFault of
        the fill mean the cache's own disk: then the lease gives ``None``.
        """
