"""The contract for kept trees, and what only a directory can meet: processes, users, bad disks."""

# ruff: noqa: ASYNC240 - a look at the directory of the test keeps nobody else waiting

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.text import TextReceiveStream
from structlog.testing import capture_logs

import runner
from runner.archives.footprint import of_file
from runner.cache.base import Filled
from runner.cache.trees import TreeCache
from runner.errors import ArtifactBad
from runner.model import Bytes, Identity
from tests.contracts.cache import (
    LIMIT,
    PATIENCE,
    CacheContract,
    Fetch,
    OpenCache,
    leased,
    never,
    on_disk,
    source_of,
)

pytestmark = pytest.mark.anyio

MOUNT, UMOUNT = "/bin/mount", "/bin/umount"
PROGRAM = Path(__file__).with_name("other_daemon.py")
NOBODY = Identity(65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to another user")
#: So large that the digest is computed behind the lease.
LARGE = 20 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the operator's directory, not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def open_cache(directory: Path) -> OpenCache:
    """Return what opens a daemon's cache on it."""
    return lambda: TreeCache(directory, LIMIT)


class TestTrees(CacheContract):
    """Kept trees keep the promises of a cache."""

    @pytest.fixture
    def open_cache(self, directory: Path) -> OpenCache:
        """Return what opens a daemon's cache, always on the same directory."""
        return lambda: TreeCache(directory, LIMIT)


class Other:
    """A daemon in another process, that leases the archive ``one``."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._text = TextReceiveStream(process.stdout)
        self._rest = ""

    async def line(self) -> str:
        """Wait for its next line; empty when it has ended."""
        with anyio.fail_after(PATIENCE):
            while "\n" not in self._rest:
                try:
                    self._rest += await self._text.receive()
                except anyio.EndOfStream:
                    break
        line, _, self._rest = self._rest.partition("\n")
        return line


@asynccontextmanager
async def another(directory: Path, mode: str) -> AsyncIterator[Other]:
    """Run ``other_daemon.py``, killed when the block ends."""
    process = await anyio.open_process(
        [sys.executable, PROGRAM, directory, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        env={**os.environ, "PYTHONPATH": str(Path(runner.__file__).parents[1])},
    )
    async with process:
        try:
            yield Other(process)
        finally:
            if process.returncode is None:
                process.kill()


def left_in(directory: Path, name: str) -> list[str]:
    """Return the names in one of the cache's own directories."""
    return [path.name for path in (directory / "v1" / name).iterdir()]


async def test_a_killed_daemons_fetch_is_taken_over(directory: Path, open_cache: OpenCache) -> None:
    """Whoever waits for it is woken by its death, and its room and files are given back."""
    async with open_cache() as cache, another(directory, "fill-for-ever") as other:
        assert await other.line() == "filling"
        got: list[bytes | None] = []

        async def want() -> None:
            got.append(await leased(cache, source_of("one"), Fetch(b"mine")))

        async with anyio.create_task_group() as group:
            group.start_soon(want)
            await anyio.wait_all_tasks_blocked()
            other.process.kill()
        assert got == [b"mine"]
    async with open_cache():
        assert left_in(directory, "staging") == []
        assert left_in(directory, "reservations") == []


async def test_a_dead_daemons_room_is_found_when_it_is_needed(
    directory: Path, open_cache: OpenCache
) -> None:
    """A daemon that is not restarted notices, too: the dead one's share goes to the living."""
    async with open_cache() as cache, another(directory, "fill-for-ever") as other:
        assert await other.line() == "filling"
        large = source_of("large", size=LIMIT * 3 // 4)
        fetch = Fetch(b"x" * (LIMIT * 3 // 4))
        assert await leased(cache, large, fetch) is None
        other.process.kill()
        await other.process.wait()
        assert await leased(cache, large, fetch) == fetch.content


async def test_a_living_daemons_staging_is_left_alone(
    directory: Path, open_cache: OpenCache
) -> None:
    """Opening sweeps only what is dead."""
    async with another(directory, "fill-for-ever") as other:
        assert await other.line() == "filling"
        async with open_cache():
            assert len(left_in(directory, "staging")) == 1
            assert len(left_in(directory, "reservations")) == 1


async def test_what_another_process_uses_stays(directory: Path, open_cache: OpenCache) -> None:
    """Its lease keeps the entry; its death gives it free."""
    async with open_cache() as cache, another(directory, "hold") as other:
        assert await other.line() == "kept fetched"
        for number in range(25):
            await leased(cache, source_of(f"n{number}"), Fetch())
        assert await leased(cache, source_of("one"), never) is not None
        other.process.kill()
        await other.process.wait()
        for number in range(25):
            await leased(cache, source_of(f"n{number}"), Fetch())
        again = Fetch()
        await leased(cache, source_of("one"), again)
        assert again.count == 1


async def test_a_large_entry_is_sealed_behind_the_lease(directory: Path) -> None:
    """The fetcher has it at once; another daemon waits for the digest, checks, and uses it."""
    fetch, source = Fetch(os.urandom(LARGE)), source_of("one", size=LARGE)
    async with (
        TreeCache(directory, Bytes(4 * LARGE)) as one,
        TreeCache(directory, Bytes(4 * LARGE)) as two,
    ):
        assert await leased(one, source, fetch) == fetch.content
        assert await leased(two, source, never) == fetch.content
        assert two.counts.verifications == 1
        assert await leased(one, source, never) == fetch.content
        assert one.counts.verifications == 0


async def test_an_entry_without_a_digest_is_fetched_again(directory: Path) -> None:
    """A daemon killed between the fetch and the digest leaves nothing that is believed."""
    source, limit = source_of("one"), Bytes(2 << 30)
    async with another(directory, "die-unsealed") as other:
        assert await other.line() == "kept fetched"
        await other.process.wait()
    assert len(left_in(directory, "entries")) == 1
    again = Fetch(b"again")
    async with TreeCache(directory, limit) as cache:
        assert left_in(directory, "entries") == []
        assert await leased(cache, source, again) == b"again"


async def test_it_is_nobody_elses(directory: Path, open_cache: OpenCache) -> None:
    """What is ours is 0700; the operator's own directory stays as it is."""
    directory.mkdir(mode=0o755)
    (directory / "theirs").touch()
    async with open_cache() as cache, cache.lease(source_of("one"), Fetch()):
        assert cache.root.stat().st_mode & 0o777 == 0o700
    assert directory.stat().st_mode & 0o777 == 0o755
    assert (directory / "theirs").exists()


@as_root
async def test_trees_belong_to_the_user_of_experiments(directory: Path) -> None:
    """Every file, link and directory does, the cache's own do not; another user's are others."""

    async def fill(into: Path, take: Callable[[int], None]) -> Filled:
        take(4 * 4096)
        (into / "folder").mkdir()
        (into / "folder" / "file").touch()
        (into / "link").symlink_to("/etc/passwd")
        return Filled(Bytes(0), 3)

    async with (
        TreeCache(directory, LIMIT, identity=NOBODY) as cache,
        cache.lease(source_of("one"), fill) as kept,
    ):
        assert kept is not None
        found = [kept.root, *kept.root.rglob("*")]
        assert {path.lstat().st_uid for path in found} == {NOBODY.uid}
        assert {path.lstat().st_gid for path in found} == {NOBODY.gid}
        assert kept.root.parent.stat().st_uid == 0
    assert Path("/etc/passwd").stat().st_uid == 0
    async with TreeCache(directory, LIMIT) as cache:
        own = Fetch()
        await leased(cache, source_of("one"), own)
        assert own.count == 1


@as_root
async def test_anothers_directory_is_not_used(directory: Path) -> None:
    """A directory that somebody prepared for us is refused, with one warning that says so."""
    (directory / "v1").mkdir(parents=True)
    os.chown(directory / "v1", NOBODY.uid, NOBODY.gid)
    with capture_logs() as logs:
        async with TreeCache(directory, LIMIT) as cache:
            assert await leased(cache, source_of("one"), never) is None
            assert await leased(cache, source_of("two"), never) is None
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "belongs to user 65534" in warnings[0]["why"]
    assert list((directory / "v1").iterdir()) == []


class Disk:
    """A disk of one megabyte that is mounted, if that is allowed here."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, options: str = "size=1m") -> None:
        """Mount it, or mount it in another way."""
        subprocess.run([MOUNT, "-t", "tmpfs", "-o", options, "tmpfs", self.place], check=True)

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run([UMOUNT, self.place], check=True)

    def names(self) -> list[str]:
        """Return what is on it, or below it where it is gone."""
        return sorted(path.name for path in self.place.iterdir())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return a small disk; the test leaves it mounted."""
    found = Disk(tmp_path / "disk")
    found.place.mkdir()
    try:
        found.mount()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this test mounts a disk, which is not allowed here")
    yield found
    found.unmount()


async def test_a_full_disk_is_done_without(disk: Disk) -> None:
    """No lease, no error, nothing half-written, one warning; it works again when there is room."""
    ballast = disk.place / "ballast"
    with capture_logs() as logs:
        async with TreeCache(disk.place / "cache", Bytes(1 << 30)) as cache:
            ballast.write_bytes(bytes(900 << 10))
            for name in ("one", "two"):
                full = Fetch(bytes(300 << 10))
                assert await leased(cache, source_of(name), full) is None
                assert left_in(disk.place / "cache", "staging") == []
            ballast.unlink()
            assert await leased(cache, source_of("one"), Fetch()) is not None
    said = [entry["event"] for entry in logs if "kept" in entry["event"]]
    assert len(said) == 2
    assert said[1] == "artifacts are kept again"


async def test_a_read_only_disk_is_done_without(disk: Disk) -> None:
    """Nothing is kept, nobody fails; it works again when it can be written to."""
    async with TreeCache(disk.place / "cache", LIMIT) as cache:
        disk.mount("remount,ro")
        assert await leased(cache, source_of("one"), never) is None
        disk.mount("remount,rw")
        assert await leased(cache, source_of("one"), Fetch()) is not None


async def test_a_mount_point_without_its_disk_is_not_used(disk: Disk) -> None:
    """The directory below a disk that went away is on another disk, which we do not fill."""
    async with TreeCache(disk.place / "cache", LIMIT) as cache:
        disk.unmount()
        assert await leased(cache, source_of("one"), never) is None
        assert disk.names() == []
        disk.mount()


async def test_a_deleted_directory_is_made_again(directory: Path, open_cache: OpenCache) -> None:
    """Somebody empties the disk under the daemon: the next lease fetches, and keeps."""
    async with open_cache() as cache:
        await leased(cache, source_of("one"), Fetch())
        directory.rename(directory.with_name("gone"))
        again = Fetch()
        assert await leased(cache, source_of("one"), again) is not None
        assert again.count == 1
        assert await leased(cache, source_of("one"), never) is not None


async def test_a_directory_deleted_during_a_fetch_is_no_archives_fault(
    directory: Path, open_cache: OpenCache
) -> None:
    """What then looks like a bad archive is not told to the experiment as one."""

    async def fill(into: Path, take: Callable[[int], None]) -> Filled:
        del take
        directory.rename(directory.with_name("gone"))
        try:
            (into / "file").touch()
        except FileNotFoundError as error:
            raise ArtifactBad("it cannot be made") from error
        raise AssertionError

    async with open_cache() as cache:
        assert await leased(cache, source_of("one"), fill) is None
        assert await leased(cache, source_of("one"), Fetch()) is not None


async def test_damage_is_told_once(open_cache: OpenCache) -> None:
    """The warning names where the artifact came from, without a signed address's end."""
    source = source_of("one")
    async with open_cache() as cache, cache.lease(source, Fetch()) as kept:
        assert kept is not None
        (kept.root / "data").chmod(0o600)
    with capture_logs() as logs:
        async with open_cache() as cache:
            for _ in range(2):
                await leased(cache, source, Fetch())
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["artifact"] for entry in warnings] == ["s3://store.example/data/one.tar"]


async def test_damage_in_use_is_done_without(open_cache: OpenCache) -> None:
    """What another still uses is not removed, and not used: it is fetched without the cache."""
    source = source_of("one")
    async with open_cache() as one, one.lease(source, Fetch()) as kept:
        assert kept is not None
        (kept.root / "data").write_bytes(b"wrong")
        async with open_cache() as two:
            assert await leased(two, source, never) is None
        assert (kept.root / "data").exists()


async def test_a_watched_cache_sees_changes_at_once(directory: Path) -> None:
    """Where experiments could change what is kept, each lease looks, not only the first one."""
    source = source_of("one")
    async with TreeCache(directory, LIMIT, watch=True) as cache:
        async with cache.lease(source, Fetch(b"right")) as kept:
            assert kept is not None
            changed = kept.root / "data"
        assert await leased(cache, source, never) == b"right"
        stamps = changed.stat()
        changed.write_bytes(b"wrong")
        os.utime(changed, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
        assert await leased(cache, source, Fetch(b"right")) == b"right"
        assert cache.counts.wrong == 1


async def test_a_temporary_cache_goes_at_the_end(directory: Path) -> None:
    """Nothing of ours stays, and nothing of others' goes."""
    async with TreeCache(directory, LIMIT, temporary=True) as cache:
        await leased(cache, source_of("one"), Fetch())
    assert not directory.exists()
    directory.mkdir()
    (directory / "theirs").touch()
    async with TreeCache(directory, LIMIT, temporary=True) as cache:
        await leased(cache, source_of("one"), Fetch())
    assert [path.name for path in directory.iterdir()] == ["theirs"]


async def test_a_smaller_bound_holds_from_the_start(directory: Path, open_cache: OpenCache) -> None:
    """A daemon restarted with less evicts before it keeps anything."""
    async with open_cache() as cache:
        for number in range(8):
            await leased(cache, source_of(f"n{number}"), Fetch())
    less = Bytes(LIMIT // 4)
    async with TreeCache(directory, less) as smaller:
        assert on_disk(smaller.root) <= less
        assert await leased(smaller, source_of("n7"), never) is not None


async def test_no_lock_is_left_for_what_is_not_kept(directory: Path, open_cache: OpenCache) -> None:
    """Failures and evictions do not fill the directory with empty files."""
    async with open_cache() as cache:
        for number in range(30):
            await leased(cache, source_of(f"n{number}"), Fetch())
        with pytest.raises(ArtifactBad):
            await leased(cache, source_of("bad"), Fetch(error=ArtifactBad("no archive")))
        kept = {name.partition("-")[0] for name in left_in(directory, "entries")}
        assert set(left_in(directory, "locks")) == kept


async def test_many_processes_fetch_one_object_once(directory: Path) -> None:
    """Four daemons that start at the same moment: one fetches, the others find it."""
    lines = []

    async def run() -> None:
        async with another(directory, "hold") as other:
            lines.append(await other.line())

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(run)
    assert sorted(lines) == ["kept fetched", "kept found", "kept found", "kept found"]


def test_the_contract_measures_the_disk(tmp_path: Path) -> None:
    """The footprint of a file is never less than what the kernel says that it takes."""
    for size in (0, 1, 4096, 4097, 300_000):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "file").write_bytes(bytes(size))
        assert on_disk(folder / "file") <= of_file(size)
