"""What every artifact cache promises; a backend inherits this and supplies the fixtures."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runner.archives.footprint import INODE, of_file
from runner.cache.base import Cache, Fill, Filled, Kept, Source
from runner.errors import ArtifactBad, OutOfDisk, StoreUnavailable, TooLarge
from runner.model import Bytes, Location
from runner.stores.base import Checksum, ObjectInfo

KIB = 1024
#: Room for some ten objects of 50 KiB.
LIMIT = Bytes(1024 * KIB)
SIZE = 50 * KIB
PATIENCE = 60

OpenCache = Callable[[], AbstractAsyncContextManager[Cache]]


def source_of(
    name: str, *, size: int = SIZE, host: str = "store.example", bucket: str = "data"
) -> Source:
    """Describe the archive ``name``: another name is another content."""
    checksum = Checksum("md5", name.encode().hex().rjust(32, "0"))
    info = ObjectInfo(Bytes(size), f'"{name}"', checksum)
    return Source(Location("s3", host, bucket, f"{name}.tar"), info, unpack=True)


class Fetch:
    """A fill that writes one file and counts; it can be held back, and made to fail."""

    def __init__(
        self, content: bytes = b"x" * SIZE, *, error: Exception | None = None, held: bool = False
    ) -> None:
        self.content = content
        self.error = error
        self.count = 0
        self.begun = anyio.Event()
        self.go_on = anyio.Event()
        if not held:
            self.go_on.set()

    async def __call__(self, into: Path, take: Callable[[int], None]) -> Filled:
        """Fetch."""
        self.count += 1
        self.begun.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        await anyio.to_thread.run_sync(self._write, into, take)
        return Filled(Bytes(len(self.content)), 1)

    def _write(self, into: Path, take: Callable[[int], None]) -> None:
        take(of_file(len(self.content)))
        (into / "data").write_bytes(self.content)


async def never(into: Path, take: Callable[[int], None]) -> Filled:
    """Fetch what must be there already."""
    raise AssertionError(f"{into} was to be filled although the artifact is kept ({take})")


def read(kept: Kept | None) -> bytes:
    """Return what is kept of an archive with one file."""
    assert kept is not None
    assert [entry.name for entry in kept.root.iterdir()] == ["data"]
    return (kept.root / "data").read_bytes()


def on_disk(root: Path) -> int:
    """Return what a directory takes of the disk, as the kernel counts it."""
    found = [root, *root.rglob("*")]
    return sum(path.stat(follow_symlinks=False).st_blocks for path in found) * 512


async def leased(cache: Cache, source: Source, fill: Fill) -> bytes | None:
    """Lease for a moment and return the content."""
    async with cache.lease(source, fill) as kept:
        return None if kept is None else read(kept)


class CacheContract:
    """The promises of ``runner.cache.base``."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a cache of ``LIMIT`` bytes, always on the same directory.

        Two that are open at a time are two daemons.
        """
        raise NotImplementedError

    async def test_what_was_fetched_is_kept(self, open_cache: OpenCache) -> None:
        """The first lease fetches, later ones find the same content, also after a restart."""
        source, fetch = source_of("one"), Fetch(b"content")
        async with open_cache() as cache:
            async with cache.lease(source, fetch) as kept:
                assert read(kept) == b"content"
                assert kept is not None
                assert not kept.reused
                assert (kept.bytes, kept.members) == (7, 1)
            async with cache.lease(source, never) as kept:
                assert read(kept) == b"content"
                assert kept is not None
                assert kept.reused
            assert (cache.counts.hits, cache.counts.misses) == (1, 1)
            assert cache.counts.bytes_saved == SIZE
        async with open_cache() as cache:
            assert await leased(cache, source, never) == b"content"
            assert cache.counts.verifications == 1
        assert fetch.count == 1

    async def test_ten_at_once_fetch_once(self, open_cache: OpenCache) -> None:
        """Nobody but the first fetches; all have it, and nine count as hits."""
        source, fetch, got = source_of("one"), Fetch(held=True), list[bytes | None]()
        async with open_cache() as cache, anyio.create_task_group() as group:

            async def want() -> None:
                got.append(await leased(cache, source, fetch))

            for _ in range(10):
                group.start_soon(want)
            await fetch.begun.wait()
            fetch.go_on.set()
        assert got == [fetch.content] * 10
        assert fetch.count == 1
        assert (cache.counts.hits, cache.counts.misses) == (9, 1)

    async def test_two_daemons_fetch_once(self, open_cache: OpenCache) -> None:
        """What one daemon is fetching another waits for, without fetching."""
        source, fetch = source_of("one"), Fetch(held=True)
        async with open_cache() as one, open_cache() as two, anyio.create_task_group() as group:
            group.start_soon(leased, one, source, fetch)
            await fetch.begun.wait()
            group.start_soon(leased, two, source, never)
            await anyio.wait_all_tasks_blocked()
            fetch.go_on.set()
        assert two.counts.hits == 1

    async def test_a_failed_fetch_fails_all_who_wait(self, open_cache: OpenCache) -> None:
        """The error comes out to each, as it is; nothing of it is kept, and the next one tries."""
        source, errors = source_of("one"), list[Exception]()
        fetch = Fetch(error=StoreUnavailable("no answer"), held=True)
        async with open_cache() as cache:
            async with anyio.create_task_group() as group:

                async def want() -> None:
                    try:
                        await leased(cache, source, fetch)
                    except StoreUnavailable as error:
                        errors.append(error)

                for _ in range(3):
                    group.start_soon(want)
                await anyio.wait_all_tasks_blocked()
                fetch.go_on.set()
            assert errors == [fetch.error] * 3
            assert fetch.count == 1
            assert await leased(cache, source, Fetch(b"now")) == b"now"

    async def test_a_failed_fetch_is_tried_by_another_daemon(self, open_cache: OpenCache) -> None:
        """An error stays in its process: whoever waits in another fetches with its own rights."""
        source, fetch = source_of("one"), Fetch(error=StoreUnavailable("no"), held=True)
        own = Fetch(b"mine")
        async with open_cache() as one, open_cache() as two, anyio.create_task_group() as group:

            async def fail() -> None:
                with pytest.raises(StoreUnavailable):
                    await leased(one, source, fetch)

            group.start_soon(fail)
            await fetch.begun.wait()
            group.start_soon(leased, two, source, own)
            await anyio.wait_all_tasks_blocked()
            fetch.go_on.set()
        assert own.count == 1

    async def test_anothers_disk_need_is_no_concern(self, open_cache: OpenCache) -> None:
        """After TooLarge the next who waits fetches within its own limit."""
        source, own = source_of("one"), Fetch(b"fits")
        fetch = Fetch(error=TooLarge("too large for you"), held=True)
        async with open_cache() as cache, anyio.create_task_group() as group:

            async def fail() -> None:
                with pytest.raises(TooLarge):
                    await leased(cache, source, fetch)

            group.start_soon(fail)
            await fetch.begun.wait()
            group.start_soon(leased, cache, source, own)
            await anyio.wait_all_tasks_blocked()
            fetch.go_on.set()
        assert own.count == 1

    async def test_a_cancelled_fetch_is_taken_over(self, open_cache: OpenCache) -> None:
        """Whoever waits for a fetch whose experiment is stopped fetches for itself."""
        source, fetch, own = source_of("one"), Fetch(held=True), Fetch(b"mine")
        got: list[bytes | None] = []
        async with open_cache() as cache, anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def first() -> None:
                with scope:
                    await leased(cache, source, fetch)

            async def second() -> None:
                got.append(await leased(cache, source, own))

            group.start_soon(first)
            await fetch.begun.wait()
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
        assert got == [b"mine"]

    async def test_who_stops_waiting_stops_nobody_else(self, open_cache: OpenCache) -> None:
        """A cancelled waiter, of the same daemon or another, leaves the fetch to go on."""
        source, fetch = source_of("one"), Fetch(held=True)
        async with open_cache() as one, open_cache() as two, anyio.create_task_group() as group:
            group.start_soon(leased, one, source, fetch)
            await fetch.begun.wait()
            for cache in (one, two):
                with anyio.move_on_after(0.02) as scope:
                    await leased(cache, source, never)
                assert scope.cancelled_caught
            fetch.go_on.set()
        assert fetch.count == 1

    async def test_the_longest_unused_goes_first(self, open_cache: OpenCache) -> None:
        """Room is made by what was used least recently; the bound holds."""
        async with open_cache() as cache:
            for number in range(30):
                assert await leased(cache, source_of(f"n{number}"), Fetch()) is not None
                assert await leased(cache, source_of("n0"), never) is not None
                assert on_disk(cache.root) <= LIMIT
            assert await leased(cache, source_of("n29"), never) is not None
            again = Fetch()
            assert await leased(cache, source_of("n1"), again) is not None
            assert again.count == 1
            assert cache.counts.evictions > 10

    async def test_what_is_leased_stays(self, open_cache: OpenCache) -> None:
        """While all is in use there is no room; nobody's tree goes; then there is room again."""
        async with open_cache() as one, open_cache() as two:
            async with AsyncExitStack() as stack:
                held = [
                    await stack.enter_async_context(one.lease(source_of(f"n{number}"), Fetch()))
                    for number in range(20)
                ]
                kept = [one for one in held if one is not None]
                assert 5 < len(kept) < 20
                async with two.lease(source_of("other"), Fetch()) as none:
                    assert none is None
                assert all(read(one) for one in kept)
            assert await leased(two, source_of("other"), Fetch()) is not None

    async def test_it_gives_way(self, open_cache: OpenCache) -> None:
        """To a full disk: the longest unused first, no more than is wanted, nothing in use."""
        async with open_cache() as cache:
            for number in range(3):
                assert await leased(cache, source_of(f"n{number}"), Fetch()) is not None
            before = on_disk(cache.root)
            await cache.give_way(Bytes(1))
            assert on_disk(cache.root) < before
            for number in (1, 2):
                assert await leased(cache, source_of(f"n{number}"), never) is not None
            async with cache.lease(source_of("n1"), never) as held:
                await cache.give_way(Bytes(1 << 40))
                assert held is not None
                assert read(held)
                assert await leased(cache, source_of("n2"), Fetch()) is not None

    async def test_what_a_supervisor_locks_stays(self, open_cache: OpenCache) -> None:
        """A shared ``flock`` on ``Kept.lock`` keeps an entry while no daemon lives."""
        async with open_cache() as cache, cache.lease(source_of("run"), Fetch()) as kept:
            assert kept is not None
            descriptor = os.open(kept.lock, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            async with open_cache() as cache:
                for number in range(25):
                    await leased(cache, source_of(f"n{number}"), Fetch())
                assert await leased(cache, source_of("run"), never) is not None
        finally:
            os.close(descriptor)

    async def test_what_is_larger_than_the_cache_is_not_kept(self, open_cache: OpenCache) -> None:
        """It is told before anything is fetched or evicted, where the object's size tells."""
        source = source_of("large", size=LIMIT)
        async with open_cache() as cache:
            await leased(cache, source_of("small"), Fetch())
            assert await leased(cache, source, never) is None
            assert await leased(cache, source_of("small"), never) is not None

    async def test_what_unpacks_to_more_than_the_cache_is_not_kept(
        self, open_cache: OpenCache
    ) -> None:
        """The fetch is ended by NoRoom, nothing of it stays, and the next one does not try."""
        source, asked = source_of("bomb"), list[str]()

        async def bomb(into: Path, take: Callable[[int], None]) -> Filled:
            asked.append("again")
            for number in range(1000):
                take(INODE)
                (into / str(number)).touch()
            raise AssertionError("there was room")

        async with open_cache() as cache:
            before = on_disk(cache.root)
            assert await leased(cache, source, bomb) is None
            assert await leased(cache, source, bomb) is None
            assert asked == ["again"]
            assert on_disk(cache.root) <= before + 16 * KIB
            for number in range(8):
                assert await leased(cache, source_of(f"n{number}"), Fetch()) is not None

    async def test_a_full_disk_is_not_the_experiments_fault(self, open_cache: OpenCache) -> None:
        """OutOfDisk of a fill means the cache's disk: it is fetched without the cache."""
        async with open_cache() as cache:
            full = Fetch(error=OutOfDisk("no space"))
            assert await leased(cache, source_of("one"), full) is None
            bad = Fetch(error=ArtifactBad("no archive"))
            with pytest.raises(ArtifactBad):
                await leased(cache, source_of("one"), bad)

    async def test_the_same_content_is_kept_once_in_a_bucket(self, open_cache: OpenCache) -> None:
        """A strong checksum of the store's own makes two names one entry, in one bucket only."""
        one = source_of("one")
        named = replace(one, location=replace(one.location, key="another.tar"))
        async with open_cache() as cache:
            await leased(cache, one, Fetch(b"same"))
            assert await leased(cache, named, never) == b"same"
            for elsewhere in (
                replace(one, location=replace(one.location, host="evil.example")),
                replace(one, location=replace(one.location, bucket="other")),
                replace(one, endpoint="https://evil.example"),
            ):
                own = Fetch(b"other")
                assert await leased(cache, elsewhere, own) == b"other"
                assert own.count == 1

    async def test_a_replaced_object_is_not_kept(self, open_cache: OpenCache) -> None:
        """What came under another version than was described is nobody's to find."""
        source = source_of("one")
        other = source_of("two").info

        async def replaced(into: Path, take: Callable[[int], None]) -> Filled:
            return replace(await Fetch(b"new")(into, take), info=other)

        async with open_cache() as cache:
            assert await leased(cache, source, replaced) is None
            assert await leased(cache, source, Fetch(b"old")) == b"old"

    async def test_a_damaged_entry_is_fetched_again(self, open_cache: OpenCache) -> None:
        """At its first use after a restart contents are compared; a wrong one is never used."""
        source = source_of("one")
        async with open_cache() as cache, cache.lease(source, Fetch(b"right")) as kept:
            assert kept is not None
            damaged = kept.root / "data"
        damaged.write_bytes(b"wrong")
        async with open_cache() as cache:
            assert await leased(cache, source, Fetch(b"right")) == b"right"
            assert (cache.counts.verifications, cache.counts.wrong) == (1, 1)
        async with open_cache() as cache:
            assert await leased(cache, source, never) == b"right"
