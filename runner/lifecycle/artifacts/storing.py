"""Stores archives, and of those that are stored already only what changed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from runner import blocking, log
from runner.archives.layout import Placed, Plan, plan
from runner.archives.look import look
from runner.archives.mapped import Mapped
from runner.archives.pack import Packed, Placing
from runner.lifecycle.artifacts.layouts import MOST_MEMBERS, Known, Layouts
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Bytes, Location
from runner.request.units import format_size
from runner.stores.base import Conflict, ObjectInfo, Store, unasked

_log = log.get_logger(__name__)

#: Reading layouts and looking at files: work of the disk.
_LIMIT = blocking.Limit(4)
#: Each range is a request of its own; the shorter ones are packed anew.
_MOST_KEPT = 100
#: An object that is smaller is sent in less time than the store needs to copy it.
_SMALLEST = 16 << 20

Pack = Callable[[BinaryIO, Placing | None], Packed]
"""Writes an archive; with a ``Placing``, without what that says is there already."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What it took to store something."""

    #: Of the objects.
    size: Bytes
    #: Of these, what was read and sent; the store had the rest.
    sent: Bytes

    def __add__(self, other: Stored) -> Stored:
        return Stored(Bytes(self.size + other.size), Bytes(self.sent + other.sent))

    def __str__(self) -> str:
        """Write ``12 MB of 1.0 GB``, or the size alone where all was sent."""
        if self.sent >= self.size:
            return format_size(self.size)
        return f"{format_size(self.sent)} of {format_size(self.size)}"


@dataclass(frozen=True, slots=True)
class Archive:
    """One object to be stored."""

    #: Its name among the layouts.
    label: str
    location: Location
    #: What is packed, where it is a directory that becomes a plain archive; else ``None``.
    directory: Path | None
    pack: Pack
    mapped: Mapped


class Storing:
    """The archives of one attempt, with what is known of those in the stores."""

    def __init__(self, workspace: Workspace, permitted: Callable[[], None] = unasked) -> None:
        """``permitted`` is asked in a worker thread right before an object appears; it may raise.

        However long the packing took: the machine may have slept, and the experiment be another's.
        """
        self._layouts = Layouts(workspace)
        self._permitted = permitted

    async def store(self, store: Store, archive: Archive) -> tuple[Stored, Packed]:
        """Store an archive; without reading or sending what the store has, where it can keep that.

        What it cannot, and what somebody else changed over there, is stored whole. Raises what
        ``Store.write`` and the packing raise.
        """
        if archive.directory is None or store.smallest_kept is None:
            packing = _Packing(archive.pack, None)
            info = await store.write(archive.location, packing, permitted=self._permitted)
            return Stored(info.size, info.size), packing.packed
        return await self._update(store, archive, archive.directory, store.smallest_kept)

    async def _update(
        self, store: Store, archive: Archive, directory: Path, smallest: Bytes
    ) -> tuple[Stored, Packed]:
        now = await blocking.call(
            lambda stop: look(directory, mapped=archive.mapped, check=stop.check),
            limit=_LIMIT,
        )
        patched = await self._patched(store, archive, now, smallest)
        if patched is not None:
            return patched
        packing = _Packing(archive.pack, Placing(now))
        info = await store.write(archive.location, packing, permitted=self._permitted)
        await self._keep(archive, info, packing.members)
        return Stored(info.size, info.size), packing.packed

    async def _patched(
        self, store: Store, archive: Archive, now: Mapping[str, str], smallest: Bytes
    ) -> tuple[Stored, Packed] | None:
        """Store what changed; ``None`` where the whole must be stored."""
        found = await blocking.call(lambda _: self._plan(archive, now, smallest), limit=_LIMIT)
        if found is None:
            return None
        known, kept = found
        names = {member.name for member in kept.members}
        placing = Placing(now, names, kept.length)
        packing = _Packing(archive.pack, placing)
        try:
            info = await store.patch(
                archive.location, known.version, kept.kept, packing, permitted=self._permitted
            )
        except Conflict as error:
            _log.info("stored whole", artifact=archive.label, why=str(error))
            return None
        stored = Stored(info.size, Bytes(info.size - kept.length))
        _log.info("stored what changed", artifact=archive.label, sent=str(stored))
        await self._keep(archive, info, (*kept.members, *packing.members))
        return stored, packing.packed

    def _plan(
        self, archive: Archive, now: Mapping[str, str], smallest: Bytes
    ) -> tuple[Known, Plan] | None:
        known = self._layouts.of(archive.label, archive.location)
        if known is None:
            return None
        kept = plan(known.members, now, smallest=smallest, most=_MOST_KEPT)
        return (known, kept) if kept else None

    async def _keep(self, archive: Archive, info: ObjectInfo, members: tuple[Placed, ...]) -> None:
        known = Known(archive.location, info.version, members)

        def keep(_: blocking.Stop) -> None:
            if len(members) <= MOST_MEMBERS and info.size >= _SMALLEST:
                self._layouts.keep(archive.label, known)
            else:
                self._layouts.forget(archive.label)

        await blocking.call(keep, limit=_LIMIT)


class _Packing:
    """What a store is given to produce an object with; remembers what came of it."""

    def __init__(self, pack: Pack, placing: Placing | None) -> None:
        self._pack = pack
        self._placing = placing
        self.packed = Packed()

    @property
    def members(self) -> tuple[Placed, ...]:
        """What was packed, in order."""
        return tuple(self._placing.members) if self._placing else ()

    def __call__(self, stream: BinaryIO) -> None:
        """Write the archive."""
        if self._placing is not None:
            self._placing = replace(self._placing, members=[])
        self.packed = self._pack(stream, self._placing)
