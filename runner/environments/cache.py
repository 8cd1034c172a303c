"""The directory of built environments: leases, single builds, eviction, and what a crash leaves.

Every promise rests on ``flock``, which ends with its process: a shared lock on an environment's
file is a lease, an exclusive one lets it be removed, another file's exclusive one lets it be built.
What is complete was renamed into ``built`` in one step.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from runner import blocking, log
from runner.environments import leftovers, manifest
from runner.environments.failures import disk_errors
from runner.errors import HostFault
from runner.model import Bytes
from runner.removal import remove_quickly

_log = log.get_logger(__name__)

_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """One environment, as eviction sees it."""

    key: str
    bytes: Bytes
    #: Seconds since the epoch.
    used: float


def victims(entries: Iterable[Entry], limit: Bytes, held: frozenset[str]) -> list[Entry]:
    """Return what must go, oldest use first, so that the rest fits; never one of ``held``. Pure."""
    everything = sorted(entries, key=lambda entry: (entry.used, entry.key))
    above = sum(entry.bytes for entry in everything) - limit
    going = []
    for entry in everything:
        if above <= 0:
            break
        if entry.key not in held:
            going.append(entry)
            above -= entry.bytes
    return going


class EnvironmentCache:
    """Environments below ``root``, for any number of processes on this machine."""

    def __init__(self, root: Path, limit: Bytes, threads: blocking.Limit) -> None:
        self.root = root
        self.limit = limit
        self._threads = threads
        self._built = root / "built"
        self._locks = root / "locks"
        self._staging = root / "staging"
        self._builds: dict[str, anyio.Lock] = {}

    def open(self) -> None:
        """Make the directories and sweep what a dead process left half-built; blocks."""
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (self._built, self._staging):
            folder.mkdir(mode=0o711, exist_ok=True)
        self._locks.mkdir(mode=0o700, exist_ok=True)
        self._sweep()

    def path(self, key: str) -> Path:
        """Return where the environment lies or will lie."""
        return self._built / key

    def lock(self, key: str) -> Path:
        """Return the file on which a shared lock keeps the environment."""
        return self._locks / key

    @contextlib.asynccontextmanager
    async def leased(self, key: str) -> AsyncIterator[None]:
        """Keep the environment from being evicted; it need not exist yet."""
        descriptor = await self._take(self.lock(key), fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextlib.asynccontextmanager
    async def building(self, key: str) -> AsyncIterator[None]:
        """Be the only one, of all processes, that builds this environment."""
        lock = self._builds.setdefault(key, anyio.Lock())
        async with lock:
            descriptor = await self._take(self._locks / f"{key}.build", fcntl.LOCK_EX)
            try:
                yield
            finally:
                os.close(descriptor)

    @contextlib.asynccontextmanager
    async def staging(self) -> AsyncIterator[Path]:
        """Give a new directory, gone at the end; its name is not to be guessed."""
        name = secrets.token_hex(12)
        descriptor = await self._take(self._staging / f"{name}.lock", fcntl.LOCK_EX)
        folder = self._staging / name
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    await self._remove(folder)
                (self._staging / f"{name}.lock").unlink()
            finally:
                os.close(descriptor)

    def publish(self, staged: Path, key: str) -> None:
        """Put a complete build in place; one that is already there moves aside to be removed."""
        target = self.path(key)
        with contextlib.suppress(FileNotFoundError):
            target.rename(staged.parent / "replaced")
        staged.rename(target)

    def touch(self, key: str) -> None:
        """Note that the environment is being used."""
        now = time.time_ns()  # the kernel's own is that of its last tick: two uses would be one
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path(key) / manifest.NAME, ns=(now, now))

    def entries(self) -> list[Entry]:
        """Return what there is."""
        return list(self._entries())

    async def evict(self, limit: Bytes | None = None) -> list[str]:
        """Remove environments that nobody uses until the rest fits; return their keys."""
        held: set[str] = set()
        gone: list[str] = []
        bound = self.limit if limit is None else limit
        while going := victims(self.entries(), bound, frozenset(held)):
            key = going[0].key
            if await self.drop(key):
                gone.append(key)
            else:
                held.add(key)
        return gone

    async def make_room(self) -> None:
        """Evict; what cannot be removed fails nobody who is done with his."""
        try:
            with disk_errors():
                await self.evict()
        except HostFault as error:
            _log.warning("what nobody uses is not removed", trouble=str(error))

    async def drop(self, key: str) -> bool:
        """Remove one environment unless somebody uses it."""
        descriptor = _try_lock(self._locks / key, fcntl.LOCK_EX)
        if descriptor is None:
            return False
        try:
            async with self.staging() as folder:
                with contextlib.suppress(FileNotFoundError):
                    self.path(key).rename(folder / "evicted")
            (self._locks / key).unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return True

    def _entries(self) -> Iterator[Entry]:
        for path in self._built.iterdir():
            found = manifest.read(path)
            with contextlib.suppress(FileNotFoundError):
                used = (path / manifest.NAME if found else path).stat().st_mtime
                yield Entry(path.name, found.survey.bytes if found else Bytes(0), used)

    def _sweep(self) -> None:
        for lock in self._staging.glob("*.lock"):
            with _unless_held(lock) as free:
                if free:
                    leftovers.end(lock.stem)
                    remove_quickly(lock.with_suffix(""))
        for path in self._built.iterdir():
            if manifest.read(path) is None:
                with _unless_held(self._locks / path.name) as free:
                    if free:
                        remove_quickly(path)
        for lock in self._locks.iterdir():
            if not self.path(lock.stem).exists():
                with _unless_held(lock):
                    pass

    async def _take(self, path: Path, kind: int) -> int:
        """Wait for a lock. Polled: a thread that waits in ``flock`` cannot be called back."""
        with disk_errors():
            while (descriptor := _try_lock(path, kind)) is None:  # noqa: ASYNC110 - another process has it
                await anyio.sleep(_POLL)
        return descriptor

    async def _remove(self, folder: Path) -> None:
        await blocking.call(lambda _: remove_quickly(folder), limit=self._threads)


@contextlib.contextmanager
def _unless_held(lock: Path) -> Iterator[bool]:
    """Tell whether nobody held the lock, and then remove it at the end."""
    descriptor = _try_lock(lock, fcntl.LOCK_EX)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            lock.unlink()
            os.close(descriptor)


def _try_lock(path: Path, kind: int) -> int | None:
    """Return a descriptor that holds the lock; None when another has it, or just removed it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
