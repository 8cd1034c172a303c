"""A container image that is an artifact: fetched through the cache, else for one experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from runner import blocking
from runner.cache.base import Cache, Source
from runner.errors import ArtifactBad, ArtifactMissing, host_fault
from runner.images.base import Image
from runner.images.reference import Reference
from runner.lifecycle.artifacts.fetching import fill_of, take_in
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes
from runner.stores.base import AccessDenied, NotFound, ObjectInfo, Store

_LIMIT = blocking.Limit(2)


@dataclass(frozen=True)
class ImageArtifact:
    """The object in a store."""

    artifact: Artifact
    workspace: Workspace
    cache: Cache | None
    store_for: Callable[[Artifact], Awaitable[Store]]

    async def fetch(self, reference: Reference, stack: AsyncExitStack, budget: Bytes) -> Image:
        """Have it on disk until ``stack`` ends: a file, or the directory that an archive holds.

        It is no part of what the experiment may use of the disk. Raises ArtifactMissing,
        ArtifactBad, StoreUnavailable, HostFault.
        """
        artifact = self.artifact
        name = f"artifact {artifact.label!r}"
        try:
            store = await self.store_for(artifact)
            info = await store.stat(artifact.location)
            if info.size > budget:
                raise ArtifactBad(
                    f"{name} has {info.size} bytes, and --image-cache-size of this runner is "
                    f"{budget}: name a smaller image"
                )
            return await self._fetched(reference, stack, store, info, budget)
        except (NotFound, AccessDenied) as error:
            raise ArtifactMissing(f"{name} cannot be read: {error}") from error
        except OSError as error:
            raise host_fault(f"{name} cannot be kept", error) from error

    async def _fetched(
        self,
        reference: Reference,
        stack: AsyncExitStack,
        store: Store,
        info: ObjectInfo,
        budget: Bytes,
    ) -> Image:
        artifact = self.artifact
        if self.cache is not None:
            source = Source(artifact.location, info, artifact.unpack, store.endpoint)
            fill = fill_of(artifact, info, store, budget)
            kept = await stack.enter_async_context(self.cache.lease(source, fill))
            if kept is not None:
                path = await blocking.call(lambda _: _inside(kept.root), limit=_LIMIT)
                return Image(reference.text, path, kept.key, kept.lock)
        root = self.workspace.private / "image"
        await blocking.call(lambda _: root.mkdir(mode=0o700), limit=_LIMIT)
        await store.read(artifact.location, lambda stream: take_in(artifact, stream, root, budget))
        path = await blocking.call(lambda _: _inside(root), limit=_LIMIT)
        version = f"{reference.text}\n{info.version}\n{info.size}"
        return Image(reference.text, path, hashlib.sha256(version.encode()).hexdigest()[:32])


def _inside(root: Path) -> Path:
    """Return the one file there is, or the directory with a system in it."""
    entries = list(root.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_file() else root
