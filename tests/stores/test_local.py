"""The local store keeps the contract, and its boundary."""

from __future__ import annotations

import bz2
import errno
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from runner.archives.unpack import unpack
from runner.blocking import Interrupted, Stop
from runner.errors import OutOfDisk, StoreUnavailable
from runner.model import Bytes, Location
from runner.stores.base import AccessDenied, Conflict, NotFound, Store
from runner.stores.boundary import find, parent_of
from runner.stores.local import LocalStore, _translated
from runner.stores.lock import LOCK_FILE, locked
from runner.stores.part import Part
from tests.contracts.stores import Halted, StoreContract, everything

pytestmark = pytest.mark.anyio


def at(path: Path | str) -> Location:
    """Address a file."""
    return Location("file", "", "", str(path))


async def put(store: Store, path: Path, body: bytes) -> None:
    """Write ``body``."""

    def produce(stream: BinaryIO) -> None:
        stream.write(body)

    await store.write(at(path), produce)


def names_in(directory: Path) -> list[str]:
    """List all entries, hidden ones too."""
    return sorted(path.name for path in directory.iterdir())


def access(path: Path) -> tuple[int, int, int]:
    """Return mode, user and group."""
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the directory that the store may use."""
    made = tmp_path / "store"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
async def store(root: Path) -> AsyncIterator[Store]:
    """Return a store of that directory."""
    async with LocalStore((root,)) as opened:
        yield opened


class TestLocal(StoreContract):
    """The contract on files."""

    @pytest.fixture
    async def store(self, root: Path) -> AsyncIterator[Store]:
        """Return a store of the test's own directory."""
        async with LocalStore((root,)) as opened:
            yield opened

    @pytest.fixture
    async def other(self, root: Path) -> AsyncIterator[Store]:
        """Return another store of the same directory."""
        async with LocalStore((root,)) as opened:
            yield opened

    @pytest.fixture
    def location(self, root: Path) -> Location:
        """Return a file in a directory that is not there yet."""
        return at(root / "experiments" / "key" / "output.tar")


# ------------------------------------------------------------------------- the boundary


async def test_nothing_is_allowed_without_roots(tmp_path: Path) -> None:
    """The error names the option that allows a directory."""
    (tmp_path / "object").write_bytes(b"x")
    async with LocalStore(()) as store:
        with pytest.raises(AccessDenied, match="--local-store-root"):
            await store.stat(at(tmp_path / "object"))


@pytest.mark.parametrize("key", ["/etc/passwd", "relative", "", "/", "/a\0b", "{root}", "{root}/"])
async def test_keys_outside_are_denied(store: Store, root: Path, key: str) -> None:
    """Neither reading, nor writing, nor removing goes where no root is."""
    location = at(key.format(root=root))
    with pytest.raises(AccessDenied):
        await store.read(location, everything)
    with pytest.raises(AccessDenied):
        await store.put_if(location, b"", None)
    with pytest.raises(AccessDenied):
        await store.delete(location)


async def test_parent_steps_are_denied(store: Store, root: Path) -> None:
    """A key with ``..`` is refused, also where it would stay inside."""
    await put(store, root / "a", b"x")
    with pytest.raises(AccessDenied, match=r"\.\."):
        await store.stat(at(f"{root}/sub/../a"))


async def test_a_root_is_no_prefix_of_names(store: Store, root: Path) -> None:
    """``/store-secret`` does not lie in ``/store``."""
    beside = root.with_name("store-secret")
    beside.mkdir()
    (beside / "x").write_bytes(b"x")
    with pytest.raises(AccessDenied, match="outside"):
        await store.stat(at(beside / "x"))


@pytest.mark.parametrize("target", ["../secret", "{top}/secret"])
async def test_a_link_that_leaves_is_denied(
    store: Store, root: Path, tmp_path: Path, target: str
) -> None:
    """A link to a file outside, or to a directory outside, opens nothing and writes nothing."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (root / "link").symlink_to(target.format(top=tmp_path))
    (root / "up").symlink_to("..")
    for key in (root / "link", root / "up" / "secret", root / "up" / "new"):
        with pytest.raises(AccessDenied, match="outside"):
            await store.read(at(key), everything)
        with pytest.raises(AccessDenied, match="outside"):
            await put(store, key, b"changed")
    with pytest.raises(AccessDenied):
        await store.delete(at(root / "up" / "secret"))
    assert secret.read_bytes() == b"secret"


async def test_a_link_that_stays_is_followed(store: Store, root: Path) -> None:
    """A link inside stands for its object; removing it removes the link."""
    await put(store, root / "v1.tar", b"one")
    (root / "latest").symlink_to("v1.tar")
    assert await store.read(at(root / "latest"), everything) == b"one"
    await put(store, root / "latest", b"two")
    assert (root / "v1.tar").read_bytes() == b"two"
    await store.delete(at(root / "latest"))
    assert names_in(root) == ["v1.tar"]


async def test_a_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    """Operators link directories; either spelling of a key reaches the object."""
    (tmp_path / "alias").symlink_to(root)
    async with LocalStore((tmp_path / "alias",)) as store:
        await put(store, tmp_path / "alias" / "x", b"x")
        assert await store.read(at(root / "x"), everything) == b"x"


def test_a_link_put_in_after_the_look_is_not_followed(root: Path, tmp_path: Path) -> None:
    """Swapping a directory for a link between the look and the opening gains nothing."""
    (root / "sub").mkdir()
    spot = find(at(root / "sub" / "secret"), (root,))
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError), parent_of(spot):
        pass


async def test_a_root_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    """A file server that is not mounted is no missing object: it is tried again later."""
    async with LocalStore((tmp_path / "absent",)) as store:
        with pytest.raises(StoreUnavailable, match="absent"):
            await store.stat(at(tmp_path / "absent" / "object"))


# ------------------------------------------------------------------------- odd files


async def test_only_files_are_objects(store: Store, root: Path) -> None:
    """A directory or a named pipe is no object, and looking at one does not block."""
    (root / "directory").mkdir()
    os.mkfifo(root / "pipe")
    for name in ("directory", "pipe"):
        with pytest.raises(NotFound):
            await store.read(at(root / name), everything)
    with pytest.raises(AccessDenied, match="directory"):
        await put(store, root / "directory", b"x")
    with pytest.raises(AccessDenied):
        await store.delete(at(root / "directory"))
    assert names_in(root) == ["directory", "pipe"]


async def test_a_file_in_the_way_is_told(store: Store, root: Path) -> None:
    """Below a file nothing can be found, written or removed."""
    await put(store, root / "file", b"x")
    with pytest.raises(NotFound):
        await store.stat(at(root / "file" / "object"))
    with pytest.raises(AccessDenied):
        await put(store, root / "file" / "object", b"x")
    await store.delete(at(root / "file" / "object"))


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, " ", "a\nb", "-rf", "..data", ".hidden"])
async def test_any_legal_name_can_be_written(store: Store, root: Path, name: str) -> None:
    """The temporary name never exceeds what the filesystem allows."""
    await put(store, root / name, b"x")
    assert names_in(root) == [name]


async def test_a_name_that_is_too_long_is_told(store: Store, root: Path) -> None:
    """Such an object cannot be there and cannot be written."""
    with pytest.raises(NotFound):
        await store.stat(at(root / ("n" * 4096)))
    with pytest.raises(AccessDenied, match="too long"):
        await put(store, root / ("n" * 300), b"x")


# ------------------------------------------------------------------------- writing


async def test_nothing_is_seen_of_an_unfinished_write(store: Store, root: Path) -> None:
    """While a write goes on, and after it was cancelled, the directory is empty."""
    halted = Halted()
    async with anyio.create_task_group() as group:
        group.start_soon(store.write, at(root / "object"), halted.produce)
        await halted.wait()
        assert names_in(root) == []
        group.cancel_scope.cancel()
    assert names_in(root) == []


def test_a_named_part_is_hidden_and_removed(root: Path) -> None:
    """Where the filesystem has no nameless files the part has a hidden name, until it ends."""
    directory = os.open(root, os.O_RDONLY)
    try:
        with Part(directory, "object", anonymous=False):
            (name,) = names_in(root)
            assert name.startswith(".object.")
            assert name.endswith(".part")
        assert names_in(root) == []
        with Part(directory, "object", anonymous=False) as part:
            part.stream.write(b"x")
            part.settle()
            part.publish(0)
        assert names_in(root) == ["object"]
    finally:
        os.close(directory)


def test_time_never_stands_still(root: Path) -> None:
    """A new content is later than the old one even when the clock went back."""
    directory = os.open(root, os.O_RDONLY)
    future = 1 << 62
    try:
        with Part(directory, "object") as part:
            part.settle()
            assert part.publish(future).st_mtime_ns > future
    finally:
        os.close(directory)


@pytest.fixture
def shared(root: Path) -> Path:
    """Return the root as a group of users shares it, theirs if this is root."""
    if os.geteuid() == 0:
        os.chown(root, 65534, 65533)
    root.chmod(0o2770)
    return root


async def test_what_is_made_is_like_the_directory_above(store: Store, shared: Path) -> None:
    """Mode and, for a root daemon, owner are those that the operator gave the root."""
    await put(store, shared / "a" / "b" / "object", b"x")
    above, first, second, made = map(
        access, (shared, shared / "a", shared / "a" / "b", shared / "a" / "b" / "object")
    )
    assert first == second == above
    assert made == (0o660, *above[1:])


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    """Mount a filesystem of one MiB."""
    mount = root / "small"
    mount.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if subprocess.run(argv, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a small filesystem here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)  # noqa: S607 - wherever the system has it


async def test_a_full_disk_is_told_as_such(store: Store, small_disk: Path) -> None:
    """A write that does not fit is OutOfDisk, and what was there stays."""
    await put(store, small_disk / "object", b"old")
    with pytest.raises(OutOfDisk, match="No space left"):
        await put(store, small_disk / "object", b"x" * (4 << 20))
    assert names_in(small_disk) == ["object"]
    assert await store.read(at(small_disk / "object"), everything) == b"old"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ESTALE, 9999])
def test_trouble_of_the_filesystem_is_the_stores(number: int) -> None:
    """Input and output errors, lost servers and unknown errors are tried again later."""
    with pytest.raises(StoreUnavailable, match="file:///x"), _translated(at("/x"), {}):
        raise OSError(number, "trouble")


AS_NOBODY = """
import anyio, anyio._backends._asyncio, asyncio, os, sys
from runner.model import Bytes, Location
from runner.stores.base import AccessDenied
from runner.stores.local import LocalStore
os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = sys.argv[1]
async def main():
    async with LocalStore((__import__("pathlib").Path(root),)) as store:
        own = Location("file", "", "", root + "/own/object")
        await store.put_if(own, b"x", None)
        await store.write(own, lambda stream: stream.write(b"mine"))
        for name, act in {
            "read": lambda at: store.read(at, lambda s: s.read()),
            "write": lambda at: store.write(at, lambda s: None),
        }.items():
            try:
                await act(Location("file", "", "", root + "/closed/object"))
            except AccessDenied as error:
                print(name, "denied")
anyio.run(main)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Make a store's root that every user can reach, with a directory that only we can enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        root = Path(name)
        root.chmod(0o777)
        (root / "closed").mkdir(mode=0o700)
        (root / "closed" / "object").write_bytes(b"x")
        yield root


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_is_told_where_it_may_not(open_to_all: Path) -> None:
    """Without root's rights the same store works, and what is closed to it is AccessDenied."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(open_to_all)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    assert done.stdout == "read denied\nwrite denied\n"
    assert (open_to_all / "own" / "object").read_bytes() == b"mine"


# ------------------------------------------------------------------------- many processes


def _create(root: str, number: int, results: multiprocessing.SimpleQueue[int | None]) -> None:
    async def main() -> None:
        async with LocalStore((Path(root),)) as store:
            try:
                await store.put_if(at(f"{root}/claims/one"), b"%d" % number, None)
            except Conflict:
                results.put(None)
            else:
                results.put(number)

    anyio.run(main)


async def test_one_of_many_processes_wins(root: Path) -> None:
    """Eight processes create the same object; exactly one succeeds and its bytes are there."""
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[int | None] = context.SimpleQueue()
    started = [
        context.Process(target=_create, args=(str(root), number, results)) for number in range(8)
    ]
    for process in started:
        process.start()
    found = [results.get() for _ in started]
    for process in started:
        process.join()
        process.close()
    results.close()
    winners = [number for number in found if number is not None]
    assert len(winners) == 1
    assert (root / "claims" / "one").read_bytes() == b"%d" % winners[0]


async def test_who_permits_may_write_beside_the_object(root: Path) -> None:
    """A lease that ran out while it was packed is renewed: its record lies in this directory."""

    def renew() -> None:
        anyio.run(put, LocalStore((root,)), root / "_claim.json", b"beat")

    def produce(stream: BinaryIO) -> None:
        stream.write(b"result")

    await LocalStore((root,)).write(at(root / "output.tar"), produce, permitted=renew)
    assert names_in(root) == ["_claim.json", "output.tar"]


def test_a_directory_that_cannot_be_locked_gets_a_lock_file(root: Path) -> None:
    """As on NFS, where directories have no locks: a hidden file takes the lock instead."""
    unlockable = os.open(root, os.O_PATH | os.O_DIRECTORY)
    waiting = Stop()

    def give_up_waiting() -> None:
        waiting.check()
        waiting.set()

    try:
        with locked(unlockable, lambda: None):
            assert names_in(root) == [LOCK_FILE]
            with pytest.raises(Interrupted), locked(unlockable, give_up_waiting):
                pass
        with locked(unlockable, lambda: None):
            pass
    finally:
        os.close(unlockable)


async def test_cancelling_ends_an_unpacking_that_needs_no_more_bytes(
    store: Store, root: Path
) -> None:
    """A few kB that become gigabytes are all read at once; the stream's check still ends it."""
    head = tarfile.TarInfo("zeros")
    head.size = 64 << 30
    zeros = bz2.compress(bytes(64 << 20))
    await put(store, root / "bomb", bz2.compress(head.tobuf()) + zeros * 1024)
    into = root / "into"
    into.mkdir()
    begun = threading.Event()

    def consume(stream: BinaryIO) -> None:
        begun.set()
        unpack(stream, into, budget=Bytes(128 << 30))

    async with anyio.create_task_group() as group:
        group.start_soon(store.read, at(root / "bomb"), consume)
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    assert list(into.iterdir()) == []


async def test_memory_stays_small(store: Store, root: Path) -> None:
    """Writing 256 MiB raises the peak of the process by far less."""
    piece = b"x" * (1 << 20)

    def produce(stream: BinaryIO) -> None:
        stream.writelines(piece for _ in range(256))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await store.write(at(root / "object"), produce)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
