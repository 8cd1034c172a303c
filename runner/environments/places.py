"""Where installers work: a scratch directory for each, and caches that one build cannot poison.

What runs no package's code shares one cache that is the daemon's alone. What does has a cache for
each scope; as another user it owns that cache only while it runs, one such build at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread

from runner import blocking
from runner.environments.cache import EnvironmentCache
from runner.environments.copying import copied
from runner.environments.installer import Place
from runner.environments.whose import builder
from runner.model import Bytes, Identity

_BLOCK = 512
_FICLONE = 0x40049409


class Places:
    """Gives out places to work in."""

    def __init__(
        self,
        cache: EnvironmentCache,
        root: Path,
        identity: Identity | None,
        threads: blocking.Limit,
    ) -> None:
        self._cache = cache
        self._root = root
        self._identity = identity
        self._threads = threads
        self._working = 0
        #: Somebody may have put something into the caches since they were measured.
        self.may_have_grown = True

    def open(self) -> None:
        """Make the directories."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        (self._root / "wheels").mkdir(mode=0o700, exist_ok=True)
        (self._root / "scopes").mkdir(mode=0o711, exist_ok=True)

    @contextlib.asynccontextmanager
    async def place(self, scope: str | None) -> AsyncIterator[Place]:
        """Give a place; with a ``scope`` one where a package's code may run."""
        self._working += 1
        try:
            async with self._cache.staging() as folder:
                folder.chmod(0o711)
                scratch = folder / folder.name
                scratch.mkdir(mode=0o700)
                if scope is None:
                    yield Place(scratch, self._root / "wheels")
                else:
                    async with self._of_scope(scope) as cache:
                        self.give(scratch)
                        yield Place(scratch, cache, self._builder, runs_code=True)
        finally:
            self._working -= 1
            self.may_have_grown = True

    def give(self, path: Path) -> None:
        """Let the builder own ``path``, where it is another user."""
        if self._builder is not None:
            os.chown(path, self._builder.uid, self._builder.gid, follow_symlinks=False)

    @property
    def _builder(self) -> Identity | None:
        return builder(self._identity)

    @contextlib.asynccontextmanager
    async def _of_scope(self, scope: str) -> AsyncIterator[Path]:
        name = hashlib.sha256(scope.encode()).hexdigest()[:24]
        if self._builder is not None and self._builder != self._identity:
            name += f"-{self._builder.uid}"  # of no use to another user
        folder = self._root / "scopes" / name
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._builder is None:
            yield folder
            return
        async with self._cache.building("-code"):
            self.give(folder)
            try:
                yield folder
            finally:
                os.chown(folder, 0, 0)

    async def trim(self, limit: Bytes) -> bool:
        """Empty the installers' caches when they are above ``limit`` and nobody works; say so.

        Nothing that was built depends on them: they are never linked into an environment.
        """
        self.may_have_grown = self._working > 0
        if await blocking.call(self._size, limit=self._threads) <= limit or self._working:
            return False
        async with self._cache.staging() as folder:
            for name in ("wheels", "scopes"):
                (self._root / name).rename(folder / name)
            self.open()
        return True

    def _size(self, stop: blocking.Stop) -> int:
        """Add up what there is; code of packages may have made any tree below."""
        total, folders = 0, [str(self._root)]
        while folders:
            stop.check()
            # gone, or deeper than any path
            with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += _size_of(entry)
        return total


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * _BLOCK
    except OSError:  # gone
        return 0


async def usable_program(program: Path, identity: Identity | None, keep: Path) -> Path:
    """Return ``program``, or a copy in ``keep`` where ``identity`` cannot run the original."""
    if identity is None or await _runs(program, identity):
        return program
    return await anyio.to_thread.run_sync(copied, program, keep / program.name)


async def _runs(program: Path, identity: Identity) -> bool:
    try:
        done = await anyio.run_process(
            [str(program), "--version"],
            check=False,
            cwd="/",
            env={},
            user=identity.uid,
            group=identity.gid,
            extra_groups=(),
        )
    except PermissionError:
        return False
    return done.returncode == 0


def link_mode(cache: Path, target: Path) -> str:
    """Return ``clone`` where the file system can, else ``copy``; blocks.

    uv's own fallback for ``clone`` is the hard link, which ties an environment to the cache.
    """
    with tempfile.TemporaryFile(dir=cache) as source, tempfile.TemporaryFile(dir=target) as copy:
        source.write(b"x")
        source.flush()
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
        except OSError:
            return "copy"
    return "clone"
