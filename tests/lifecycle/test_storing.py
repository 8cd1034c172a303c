"""Checkpoints of large directories send what changed, and are whole whatever goes wrong."""

from __future__ import annotations

import io
import mmap
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from runner.archives.unpack import unpack
from runner.errors import LeaseLost, StoreUnavailable
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.storing import Stored
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes, Experiment, Location, Needs, Request
from runner.stores.base import AccessDenied, Account, NotFound, Store, StoreOptions, unasked
from runner.stores.local import LocalStore
from runner.stores.minio import MinioStore
from tests.servers.s3 import S3Server
from tests.stores.copying import Copying, CopyingStore
from tests.stores.in_memory import Once

pytestmark = pytest.mark.anyio

MIB = 1 << 20
KEY = "experiments/key/modeldir.tar"


class Scene:
    """A store, and an experiment that writes checkpoints of some 40 MB in 40 files."""

    def __init__(self, root: Path, store: Store, location: Location) -> None:
        self.root = root
        self.store = store
        self.location = location
        #: Asked before an object appears.
        self.permitted: Callable[[], None] = unasked
        self.workspace = Workspace.create(root / "w", "key")
        self.directory = self.workspace.directory("modeldir")
        self.directory.mkdir()
        for number in range(40):
            self.write(f"layer{number:02}", os.urandom(MIB))

    def write(self, name: str, content: bytes) -> None:
        """Write a file as the experiment does."""
        (self.directory / name).write_bytes(content)

    async def upload(self) -> Stored | None:
        """Store what changed, by a daemon that was just started."""

        async def store_for(_: Artifact) -> Store:
            return self.store

        artifact = Artifact("modeldir", self.location, mutable=True, unpack=True)
        request = Request(Experiment("key", "a.py"), Needs(), {"modeldir": artifact})
        artifacts = Artifacts(request, self.workspace, store_for, permitted=self.permitted)
        return (await artifacts.upload(final=False)).get("modeldir")

    async def assert_whole(self) -> None:
        """The object holds what the directory does, each file once, for every reader."""
        body = await self.store.read(self.location, lambda stream: stream.read())
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            names = archive.getnames()
        assert sorted(names) == sorted({*names})
        back = self.root / f"back{len(list(self.root.iterdir()))}"
        back.mkdir()
        unpack(io.BytesIO(body), back, budget=Bytes(1 << 30))
        assert content_of(back) == content_of(self.directory)


def content_of(directory: Path) -> dict[str, bytes]:
    """Read all files of a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def client() -> Copying:
    """Return a store's client."""
    return Copying()


@pytest.fixture
async def scene(tmp_path: Path, client: Copying) -> AsyncIterator[Scene]:
    """Return an experiment whose store can copy parts."""
    async with CopyingStore(client) as store:
        yield Scene(tmp_path, store, Location("s3", "store", "bucket", KEY))


async def test_only_the_changed_file_is_sent(scene: Scene) -> None:
    """One of forty files costs itself; what is said of it tells so; again and again."""
    first = await scene.upload()
    assert first is not None
    assert first.sent == first.size > 40 * MIB
    assert str(first) == "42 MB"
    assert await scene.upload() is None

    for number in range(3):
        scene.write("layer20", os.urandom(MIB))
        stored = await scene.upload()
        assert stored is not None
        assert MIB < stored.sent < MIB + 30_000
        assert str(stored) == "1.1 MB of 42 MB", number
        await scene.assert_whole()
    assert await scene.upload() is None


async def test_nothing_appears_that_is_another_runners_by_then(scene: Scene) -> None:
    """However long it was packed, and whether all of it is sent or what changed."""
    asked: list[str] = []

    def refused() -> None:
        asked.append(threading.current_thread().name)
        raise LeaseLost("another has taken over the experiment")

    scene.permitted = refused
    with pytest.raises(StoreUnavailable, match="another has taken over"):
        await scene.upload()
    with pytest.raises(NotFound):
        await scene.store.stat(scene.location)
    scene.permitted = unasked
    await scene.upload()
    before = await scene.store.stat(scene.location)
    scene.write("layer20", os.urandom(MIB))
    scene.permitted = refused
    with pytest.raises(StoreUnavailable, match="another has taken over"):
        await scene.upload()
    assert await scene.store.stat(scene.location) == before
    assert len(asked) == 2
    assert threading.main_thread().name not in asked
    scene.permitted = unasked
    await scene.upload()
    await scene.assert_whole()


async def test_unchanged_files_are_not_read(scene: Scene) -> None:
    """The upload of forty files of which one changed reads that; and what ``/proc`` tells."""
    await scene.upload()
    scene.write("layer20", os.urandom(MIB))
    before = bytes_read()
    stored = await scene.upload()
    assert stored is not None
    assert bytes_read() - before < 15 * MIB


def bytes_read() -> int:
    """Return what this process has read until now, from files or from anything else."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


async def test_files_that_come_and_go_are_followed(scene: Scene) -> None:
    """New ones are sent, deleted ones are gone from the object, renamed ones have the new name."""
    await scene.upload()
    scene.write("sub", b"a file first")
    (scene.directory / "layer05").unlink()
    (scene.directory / "layer10").rename(scene.directory / "renamed")
    (scene.directory / "link").symlink_to("layer11")
    stored = await scene.upload()
    assert stored is not None
    assert stored.sent < 8 * MIB
    await scene.assert_whole()

    (scene.directory / "sub").unlink()
    (scene.directory / "sub").mkdir()
    scene.write("sub/below", b"a directory now")
    assert (stored := await scene.upload()) is not None
    assert stored.sent < 8 * MIB
    await scene.assert_whole()


async def test_an_object_that_somebody_else_changed_is_written_whole(
    scene: Scene, client: Copying
) -> None:
    """Nothing of what is over there is relied on; nor of what is not there any more."""
    await scene.upload()
    client.store(scene.location, b"somebody else's")
    scene.write("layer20", b"changed")
    assert (stored := await scene.upload()) is not None
    assert stored.sent == stored.size
    await scene.assert_whole()

    client.objects.clear()
    scene.write("layer21", b"changed")
    assert (stored := await scene.upload()) is not None
    assert stored.sent == stored.size
    await scene.assert_whole()

    scene.write("layer22", b"changed")
    assert (stored := await scene.upload()) is not None
    assert stored.sent < stored.size
    assert client.uploads == {}


async def test_a_store_that_refuses_to_copy_gets_the_whole(scene: Scene, client: Copying) -> None:
    """Keys that may write and not read are keys all the same."""
    await scene.upload()
    client.trouble = Once("copy_part", AccessDenied("no right to read it"), times=1000)
    scene.write("layer20", b"changed")
    assert (stored := await scene.upload()) is not None
    assert stored.sent == stored.size
    await scene.assert_whole()


async def test_a_layout_that_is_damaged_costs_an_upload(scene: Scene) -> None:
    """Truncated, empty, nonsense: the whole is stored, and the next layout is right again."""
    await scene.upload()
    (layout,) = (scene.workspace.private / "layouts").iterdir()
    lines = layout.read_bytes().splitlines(keepends=True)
    assert layout.stat().st_mode & 0o777 == 0o600
    for damaged in (b"", b"".join(lines[:-1]), b"\0" * 100, b"[]\n", b"{}\n[1]\n"):
        layout.write_bytes(damaged)
        scene.write("layer20", os.urandom(100))
        assert (stored := await scene.upload()) is not None
        assert stored.sent == stored.size
    scene.write("layer20", os.urandom(100))
    assert (stored := await scene.upload()) is not None
    assert stored.sent < stored.size
    await scene.assert_whole()


async def test_what_changes_while_it_is_packed_is_stored_next_time(
    scene: Scene, client: Copying
) -> None:
    """The object of the moment may hold a torn file; the next one does not keep it."""
    path = scene.directory / "layer39"

    def meddle(operation: str, _: int) -> None:
        if operation == "put_part":
            path.write_bytes(os.urandom(MIB))

    client.trouble = meddle
    await scene.upload()
    client.trouble = lambda *_: None
    assert await scene.upload() is not None
    await scene.assert_whole()


async def test_writes_through_a_memory_map_are_stored(scene: Scene) -> None:
    """They may leave no trace in the file's times; a checkpoint in between relies on nothing."""
    path = scene.directory / "layer20"
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as weights:
        weights[:4] = b"1st "
        await scene.upload()
        before = path.stat()
        weights[:4] = b"2nd "
        after = path.stat()
        assert (before.st_ctime_ns, before.st_size) == (after.st_ctime_ns, after.st_size)
        assert (stored := await scene.upload()) is not None
        assert stored.sent < 3 * MIB
        weights[:4] = b"3rd "
    assert (stored := await scene.upload()) is not None
    assert stored.sent < 3 * MIB
    assert path.read_bytes()[:4] == b"3rd "
    await scene.assert_whole()
    assert await scene.upload() is None


@pytest.mark.parametrize("name", ["modeldir.tar.gz", "modeldir.tgz"])
async def test_compressed_archives_are_stored_whole(scene: Scene, name: str) -> None:
    """Of what is compressed no byte lies where it lay."""
    for path in scene.directory.iterdir():
        path.write_bytes(b"x" * MIB)
    scene.location = Location("s3", "store", "bucket", f"experiments/key/{name}")
    await scene.upload()
    scene.write("layer20", b"changed")
    assert (stored := await scene.upload()) is not None
    assert stored.sent == stored.size
    assert not (scene.workspace.private / "layouts").exists()


async def test_a_store_that_keeps_nothing_costs_nothing(tmp_path: Path) -> None:
    """The local store is written as before: no layout, no second look."""
    objects = tmp_path / "objects"
    objects.mkdir()
    location = Location("file", "", "", str(objects / "modeldir.tar"))
    scene = Scene(tmp_path, LocalStore((objects,)), location)
    for _ in range(2):
        scene.write("layer20", os.urandom(MIB))
        assert (stored := await scene.upload()) is not None
        assert stored.sent == stored.size
    assert not (scene.workspace.private / "layouts").exists()
    await scene.assert_whole()


async def test_small_archives_are_sent_whole(scene: Scene, client: Copying) -> None:
    """Below 16 MB sending is faster than having ranges copied."""
    for path in scene.directory.iterdir():
        path.write_bytes(os.urandom(MIB // 4))
    await scene.upload()
    scene.write("layer20", b"changed")
    await scene.upload()
    assert client.count("copy_part") == 0
    await scene.assert_whole()


async def test_a_failed_upload_relies_on_nothing_new(scene: Scene, client: Copying) -> None:
    """After an upload that failed half way the next one starts from what is in the store."""
    await scene.upload()
    acts: list[Callable[[], object]] = [
        lambda: scene.write("layer20", os.urandom(2 * MIB)),
        lambda: scene.write("layer30", os.urandom(2 * MIB)),
    ]
    for act in acts:
        act()
        client.trouble = Once("complete", AccessDenied("just now"))
        with pytest.raises(Exception, match="just now"):
            await scene.upload()
    assert (stored := await scene.upload()) is not None
    assert 4 * MIB < stored.sent < 6 * MIB
    await scene.assert_whole()
    assert client.uploads == {}


@pytest.mark.service("s3")
async def test_a_real_server_keeps_what_did_not_change(
    tmp_path: Path, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """The same with requests over the network."""
    account = Account("minio", seaweed_server.endpoint, credentials=seaweed_server.admin)
    async with MinioStore.for_account(account, StoreOptions()) as store:
        scene = Scene(tmp_path, store, seaweed_server.location(seaweed_bucket, KEY))
        await scene.upload()
        for name in ("layer20", "layer00", "layer39"):
            scene.write(name, os.urandom(MIB))
            assert (stored := await scene.upload()) is not None
            assert stored.sent < 4 * MIB
            await scene.assert_whole()
    assert seaweed_server.uploads(seaweed_bucket) == []
