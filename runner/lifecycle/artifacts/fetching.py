"""Brings artifacts from their stores into the workspace, each tree whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import anyio

from runner import blocking
from runner.archives.signature import signature
from runner.archives.unpack import Unpacked, file_name_of, place_file, unpack
from runner.cache.base import Fill, Filled, Source
from runner.errors import (
    ArtifactBad,
    ArtifactMissing,
    OutOfDisk,
    RunnerError,
    StoreUnavailable,
    TooLarge,
    host_fault,
)
from runner.lifecycle.artifacts.lending import Lending
from runner.lifecycle.artifacts.notes import Note, Notes
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes
from runner.removal import remove_tree
from runner.stores.base import AccessDenied, Conflict, NotFound, ObjectInfo, Store

#: Hashing and handing over: work of the disk, whatever the network does beside it.
_LIMIT = blocking.Limit(4)


class Fetcher:
    """Fetches the artifacts of one attempt."""

    def __init__(
        self,
        workspace: Workspace,
        notes: Notes,
        store_for: Callable[[Artifact], Awaitable[Store]],
        *,
        at_once: int,
        lending: Lending | None = None,
    ) -> None:
        """``lending`` brings what the cache keeps."""
        self._workspace = workspace
        self._notes = notes
        self._store_for = store_for
        self._at_once = at_once
        self._lending = lending
        self._warnings: list[str] = []
        #: Labels that are in place, or known not to be in the store.
        self.done: set[str] = set()

    async def fetch(self, artifacts: Iterable[Artifact], budget: Bytes) -> tuple[str, ...]:
        """Fetch side by side, together no more than ``budget``; return sentences about oddities.

        Each is given its share of the budget, by the size it has in the store. One that unpacks to
        more is fetched again when all others are there, with everything that they left.
        """
        infos: dict[str, ObjectInfo] = {}
        by_label = {artifact.label: artifact for artifact in artifacts}
        await self._side_by_side(lambda one: self._look(one, infos), by_label.values())
        there = sum(info.size for info in infos.values())
        if there > budget:
            raise TooLarge(
                f"the artifacts hold {there} bytes already as they are stored, and the experiment "
                f"may use {budget} bytes of disk: raise resources_needed.hdd"
            )
        left, large = int(budget), []

        async def within_share(artifact: Artifact) -> None:
            nonlocal left
            info = infos[artifact.label]
            share = _share(info.size, there, len(infos), budget)
            try:
                left -= await self._bring(artifact, info, share)
            except ArtifactBad:
                if len(infos) == 1:
                    raise
                large.append(artifact)

        await self._side_by_side(within_share, [by_label[label] for label in sorted(infos)])
        for artifact in large:
            left -= await self._bring(artifact, infos[artifact.label], Bytes(left))
        return tuple(self._warnings)

    async def _look(self, artifact: Artifact, infos: dict[str, ObjectInfo]) -> None:
        """Note what there is to know of an artifact that is there."""
        try:
            store = await self._store_for(artifact)
            infos[artifact.label] = await store.stat(artifact.location)
        except (NotFound, AccessDenied) as error:
            self._absent(artifact, error)

    def _absent(self, artifact: Artifact, error: RunnerError) -> None:
        name = f"artifact {artifact.label!r}"
        if isinstance(error, NotFound):
            if not artifact.mutable:
                raise ArtifactMissing(
                    f"{name} is not at {artifact.location}: upload it there and submit again"
                ) from error
            self.done.add(artifact.label)
            return
        # Object stores also deny what does not exist, to whoever may not list. A file that is
        # denied to us now will be denied after ten hours of training, too.
        if not artifact.mutable or artifact.location.scheme == "file":
            raise ArtifactMissing(f"{name} cannot be read: {error}") from error
        self._warnings.append(f"{name} was not fetched: {error}")
        self.done.add(artifact.label)

    async def _bring(self, artifact: Artifact, info: ObjectInfo, budget: Bytes) -> int:
        """Have it in place; return the bytes on disk."""
        try:
            store = await self._store_for(artifact)
            size = await self._borrow(artifact, info, store, budget)
            if size is None:
                size = await self._fetch(artifact, store, budget)
        except Conflict as error:
            raise StoreUnavailable(f"artifact {artifact.label!r}: {error}") from error
        except (NotFound, AccessDenied) as error:
            self._absent(artifact, error)
            return 0
        except (ArtifactBad, OutOfDisk) as error:
            raise type(error)(
                f"artifact {artifact.label!r} ({artifact.location}): {error}"
            ) from error
        except OSError as error:
            raise host_fault(f"artifact {artifact.label!r} cannot be kept", error) from error
        self.done.add(artifact.label)
        return size

    async def _borrow(
        self, artifact: Artifact, info: ObjectInfo, store: Store, budget: Bytes
    ) -> Bytes | None:
        """Have the cache keep it; ``None`` where that is not to be."""
        if self._lending is None or not self._lending.takes(artifact):
            return None
        source = Source(artifact.location, info, artifact.unpack, store.endpoint)
        return await self._lending.bring(
            artifact, source, fill_of(artifact, info, store, budget), budget
        )

    async def _fetch(self, artifact: Artifact, store: Store, budget: Bytes) -> Bytes:
        """Fetch, unpack, and put in place."""
        staged = self._workspace.private / "fetch" / artifact.label
        staged.mkdir(mode=0o700, parents=True)
        try:
            unpacked = await store.read(
                artifact.location, lambda stream: take_in(artifact, stream, staged, budget)
            )
            found = await blocking.call(
                lambda stop: self._settle(artifact, staged, stop), limit=_LIMIT
            )
        finally:
            with anyio.CancelScope(shield=True):
                await blocking.call(lambda _: remove_tree(staged), limit=_LIMIT)
        if artifact.mutable:
            note = Note(found, single=unpacked.single, had_content=unpacked.members > 0)
            self._notes.keep(artifact.label, note)
        return unpacked.bytes

    def _settle(self, artifact: Artifact, staged: Path, stop: blocking.Stop) -> str:
        self._workspace.hand_over(staged)
        found = signature(staged, check=stop.check) if artifact.mutable else ""
        self._workspace.put(artifact.label, staged)
        return found

    async def _side_by_side(
        self, act: Callable[[Artifact], Awaitable[None]], artifacts: Iterable[Artifact]
    ) -> None:
        """Run ``act`` for each; the first error ends all others and comes out bare."""
        room, errors = anyio.Semaphore(self._at_once), list[RunnerError]()
        async with anyio.create_task_group() as group:

            async def run(artifact: Artifact) -> None:
                async with room:
                    try:
                        await act(artifact)
                    except RunnerError as error:
                        errors.append(error)
                        group.cancel_scope.cancel()

            for artifact in artifacts:
                group.start_soon(run, artifact)
        if errors:
            raise errors[0]


def fill_of(artifact: Artifact, info: ObjectInfo, store: Store, budget: Bytes) -> Fill:
    """Return what fetches the artifact for the cache: the very version that will be its name."""

    async def fill(into: Path, take: Callable[[int], None]) -> Filled:
        found = await store.read(
            artifact.location,
            lambda stream: take_in(artifact, stream, into, budget, take),
            version=info.version,
        )
        return Filled(found.bytes, found.members)

    return fill


def take_in(
    artifact: Artifact,
    stream: BinaryIO,
    into: Path,
    budget: Bytes,
    take: Callable[[int], None] | None = None,
) -> Unpacked:
    """Put what a store sends into an empty directory: what an archive holds, or the one file."""
    if artifact.unpack:
        return unpack(stream, into, budget=budget, take=take)
    path = into / file_name_of(artifact.location.path)
    return Unpacked(place_file(stream, path, budget=budget, take=take), 1)


def _share(size: int, there: int, count: int, budget: int) -> Bytes:
    """Return the part of the budget for an artifact of ``size``; all parts fit in it together.

    What the stored sizes leave is given half by size and half by heads: large ones are compressed
    as well as small ones are.
    """
    if count == 1:
        return Bytes(budget)
    slack = budget - there
    return Bytes(size + slack // (2 * count) + slack * size // (2 * max(there, 1)))
