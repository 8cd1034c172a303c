"""Images of registries and of definition files: got once, kept by their content, below one bound.

The directory is one of the environments' kind (``runner.environments.cache``): the same leases,
single builds over processes, eviction, and sweeping of what a crash left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import anyio
import msgspec

from runner import blocking, log, own_files
from runner.environments import leftovers, manifest
from runner.environments.cache import EnvironmentCache
from runner.environments.failures import disk_errors
from runner.environments.manifest import Manifest
from runner.environments.whose import builder
from runner.errors import ArtifactBad, HostFault, RunnerError
from runner.images import apptainer
from runner.images.base import Errand, Errands, Image, Images
from runner.images.reference import Reference
from runner.model import Bytes, Identity
from runner.own_files import Moment

_log = log.get_logger(__name__)

_FILE = "image.sif"
_MAKING_ROOM = 30.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a reference stood for when it was asked last."""

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    asked: Moment


class PulledImages(Images):
    """Images below ``root``, which the users that run experiments must be able to pass through."""

    def __init__(
        self,
        root: Path,
        errands: Errands,
        *,
        tool: Path | None,
        limit: Bytes,
        ttl: timedelta,
        patience: timedelta,
        identity: Identity | None = None,
        variables: Mapping[str, str],
        report: Callable[[str], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``tool`` is Apptainer; ``variables`` are the daemon's own, of which few are passed on."""
        self.root = root
        self._errands = errands
        self._tool = tool
        self._ttl = ttl
        self._patience = patience
        self._identity = identity
        self._variables = variables
        self._report = report
        self._wall = wall
        self._threads = blocking.Limit(2)
        self._cache = EnvironmentCache(root, limit, self._threads)
        self._answers = root / "answers"

    async def __aenter__(self) -> Self:
        """Sweep what a dead process left. Raises OSError."""
        await blocking.call(lambda _: self._open(), limit=self._threads)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing stays open: leases end with their blocks."""

    def _open(self) -> None:
        self._cache.open()
        self._answers.mkdir(mode=0o700, exist_ok=True)

    @contextlib.asynccontextmanager
    async def lease(self, reference: Reference, recipe: Path | None = None) -> AsyncIterator[Image]:
        """Have the image until the block ends; see ``Images.lease``."""
        try:
            async with AsyncExitStack() as stack:
                with disk_errors():
                    key = await self._leased(stack, reference, recipe)
                self._cache.touch(key)
                path = self._cache.path(key) / _FILE
                yield Image(reference.text, path, key, self._cache.lock(key))
        finally:
            with anyio.move_on_after(_MAKING_ROOM, shield=True):
                await self._cache.make_room()

    async def give_way(self, wanted: Bytes) -> None:
        """Remove about ``wanted`` bytes of what nobody uses."""
        with disk_errors():
            kept = sum(entry.bytes for entry in self._cache.entries())
            await self._cache.evict(Bytes(max(0, kept - wanted)))

    async def _leased(
        self, stack: AsyncExitStack, reference: Reference, recipe: Path | None
    ) -> str:
        question = await blocking.call(lambda _: _question(reference, recipe), limit=self._threads)
        ttl = float("inf") if reference.is_pinned else self._ttl.total_seconds()
        key = await self._kept(stack, question, ttl)
        if key is not None:
            return key
        async with self._cache.building(question):
            key = await self._kept(stack, question, ttl)  # somebody else was faster
            if key is not None:
                return key
            try:
                key = await self._got(stack, reference, recipe)
            except RunnerError as error:
                return await self._older(stack, question, error)
            self._remember(question, key)
            return key

    async def _kept(self, stack: AsyncExitStack, question: str, ttl: float) -> str | None:
        """Lease what the reference stood for when it was asked, if that is not long ago."""
        known = self._recall(question)
        if known is None or not 0 <= self._wall() - known.asked <= ttl:
            return None
        async with AsyncExitStack() as lease:
            await lease.enter_async_context(self._cache.leased(known.key))
            if not await self._is_whole(known.key):
                return None
            stack.push_async_exit(lease.pop_all())
        return known.key

    async def _older(self, stack: AsyncExitStack, question: str, error: RunnerError) -> str:
        """Go on with what is there, where the world keeps a newer one from us."""
        is_passing = not isinstance(error, ArtifactBad)
        key = await self._kept(stack, question, float("inf")) if is_passing else None
        if key is None:
            raise error
        self._report(f"an older image is used: {str(error).splitlines()[0]}")
        return key

    async def _got(self, stack: AsyncExitStack, reference: Reference, recipe: Path | None) -> str:
        """Get it, and lease it; what else is there of the same content stays."""
        async with self._cache.staging() as folder:
            made = await self._made(folder, reference, recipe)
            key = await blocking.call(lambda _: _sealed(made, reference), limit=self._threads)
            await stack.enter_async_context(self._cache.leased(key))
            if not await self._is_whole(key):
                self._cache.publish(made, key)
        return key

    async def _made(self, folder: Path, reference: Reference, recipe: Path | None) -> Path:
        """Have Apptainer make the file; return the directory that it is alone in."""
        if self._tool is None:
            raise HostFault("Apptainer is not installed on this machine")
        scratch = folder / folder.name
        copy = await blocking.call(
            lambda _: self._furnish(folder, scratch, recipe), limit=self._threads
        )
        is_root = self._identity is None and os.geteuid() == 0
        argv = apptainer.getting(self._tool, reference, copy, scratch / _FILE, is_root=is_root)
        has_code = recipe is not None
        env = apptainer.variables(scratch, self._variables, has_code=has_code)
        mark = {leftovers.MARK: folder.name}
        errand = Errand(argv, f"image-{folder.name}", self._patience, scratch, env | mark)
        ended = await self._errands.run(errand)
        if ended.code != 0:
            raise apptainer.explain(reference, ended, self._patience, has_code=has_code)
        return await blocking.call(
            lambda _: _taken(scratch, folder, reference), limit=self._threads
        )

    def _furnish(self, folder: Path, scratch: Path, recipe: Path | None) -> Path | None:
        """Make the place to work in; return the copy of the recipe."""
        folder.chmod(0o711)
        scratch.mkdir(mode=0o700)
        self._give(scratch)
        if recipe is None:
            return None
        copy = scratch / "image.def"
        copy.write_bytes(recipe.read_bytes())
        self._give(copy)
        return copy

    def _give(self, path: Path) -> None:
        user = builder(self._identity)
        if user is not None:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)

    async def _is_whole(self, key: str) -> bool:
        """Tell whether it is there as it was put there."""
        root = self._cache.path(key)

        def look() -> bool:
            known = manifest.read(root)
            return known is not None and manifest.is_unchanged(root, known)

        return await blocking.call(lambda _: look(), limit=self._threads)

    def _recall(self, question: str) -> _Answer | None:
        try:
            return own_files.read_as(self._answers / question, _Answer)
        except (OSError, ValueError):
            return None

    def _remember(self, question: str, key: str) -> None:
        new = self._answers / f"{question}.new"
        try:
            new.write_text(json.dumps({"key": key, "asked": self._wall()}))
            new.replace(self._answers / question)
        except OSError as error:  # its registry is asked again next time
            _log.warning("not remembered", file=str(new), trouble=str(error))


def _question(reference: Reference, recipe: Path | None) -> str:
    """Return a name for what is asked: a recipe is what it says."""
    known = hashlib.sha256(reference.text.encode())
    if recipe is not None:
        known.update(b"\0" + recipe.read_bytes())
    return known.hexdigest()[:32]


def _taken(scratch: Path, folder: Path, reference: Reference) -> Path:
    made = folder / "entry"
    made.mkdir(mode=0o755)
    try:
        (scratch / _FILE).rename(made / _FILE)
    except OSError as error:
        raise HostFault(f"Apptainer made no file of {reference.text}: {error}") from error
    return made


def _sealed(made: Path, reference: Reference) -> str:
    """Take the file from who made it, and return what names its content; blocks."""
    descriptor = os.open(made / _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise ArtifactBad(f"what was made of {reference.text} is no ordinary file")
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o444)
        key = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    known = Manifest(manifest.survey(made), {}, packages=(reference.text,))
    known.write(made)
    return key
