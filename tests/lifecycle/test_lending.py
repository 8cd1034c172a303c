"""Immutable artifacts through a cache: attached where the sandbox can, copied where it cannot."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import anyio
import pytest

from runner.cache.base import Cache, Counts, Fill, Kept, Source
from runner.errors import ArtifactBad, ArtifactMissing, StoreUnavailable, TooLarge
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.lending import Lending
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes, Experiment, Location, Needs, Request
from runner.stores.base import AccessDenied, Store
from runner.stores.local import LocalStore
from tests.contracts.sandboxes import is_free, look

pytestmark = pytest.mark.anyio

BUDGET = Bytes(10 << 20)
T = TypeVar("T")


class Shelf(Cache):
    """The smallest cache: one directory for each object, filled once, never removed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._filling = anyio.Lock()
        self.counts = Counts()
        self.has_room = True
        self.lent = 0
        #: Of each: too many to be copied where they can be attached.
        self.members = 1000

    @property
    def root(self) -> Path:
        """Return where it is."""
        return self._root

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    @asynccontextmanager
    async def lease(self, source: Source, fill: Fill) -> AsyncIterator[Kept | None]:
        """Fill unless it is there."""
        if not self.has_room:
            yield None
            return
        name = source.location.key.replace("/", "-")
        place = self._root / name
        async with self._filling:
            reused = place.exists()
            if not reused:
                place.mkdir(parents=True)
                try:
                    filled = await fill(place, lambda _: None)
                except BaseException:
                    shutil.rmtree(place)
                    raise
                (self._root / f"{name}.size").write_text(str(filled.bytes))
        lock = self._root / f"{name}.lock"
        self.lent += 1
        try:
            with lock.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                size = Bytes(int((self._root / f"{name}.size").read_text()))
                yield Kept(name, place, size, self.members, reused, lock)
        finally:
            self.lent -= 1


class Counting(LocalStore):
    """A local store that counts what is read, and denies where it is told."""

    def __init__(self, root: Path) -> None:
        super().__init__((root,))
        self.reads: list[str] = []
        self.denied: set[str] = set()
        self.gate: anyio.Event | None = None

    async def read(
        self, location: Location, consume: Callable[[BinaryIO], T], *, version: str | None = None
    ) -> T:
        """Read and count."""
        name = location.key.rpartition("/")[2]
        self.reads.append(name)
        if self.gate is not None:
            await self.gate.wait()
        if name in self.denied:
            raise AccessDenied(f"{location} is denied")
        return await super().read(location, consume, version=version)


@dataclass
class Scene:
    """A store with objects, a cache beside it, and a workspace for each experiment."""

    root: Path
    store: Counting
    shelf: Shelf
    lendings: list[Lending] = field(default_factory=list)

    def put(self, name: str, files: dict[str, str]) -> None:
        """Store an archive."""
        with tarfile.open(self.root / "objects" / name, "w") as archive:
            for member, text in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))

    def experiment(
        self,
        *labels: str,
        mutable: bool = False,
        unpack: bool = True,
        can_overlay: bool = True,
        store: Store | None = None,
    ) -> tuple[Workspace, Artifacts]:
        """Return a new experiment that wants the artifacts of these labels."""
        workspace = Workspace.create(self.root / "work", "key")
        wanted = {
            label: Artifact(
                label,
                Location("file", "", "", str(self.root / "objects" / f"{label}.tar")),
                mutable=mutable,
                unpack=unpack,
            )
            for label in labels
        }
        lending = Lending(self.shelf, workspace, can_overlay=can_overlay, key="key")
        self.lendings.append(lending)

        async def store_for(_: Artifact) -> Store:
            return store or self.store

        request = Request(Experiment("key", "a.py"), Needs(), wanted)
        return workspace, Artifacts(request, workspace, store_for, lending=lending)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """An empty store and an empty cache."""
    (tmp_path / "objects").mkdir()
    scene = Scene(tmp_path, Counting(tmp_path / "objects"), Shelf(tmp_path / "cache"))
    yield scene
    for lending in scene.lendings:
        await lending.give_back()


async def test_an_immutable_artifact_is_attached(scene: Scene) -> None:
    """Fetched once; the run is to see it in its directory, which holds what it changes alone."""
    scene.put("workspace.tar", {"train.py": "print()", "sub/n": "n"})
    for turn in range(3):
        workspace, artifacts = scene.experiment("workspace")
        await artifacts.fetch(BUDGET)
        (overlay,) = artifacts.overlays
        assert overlay.target == workspace.code
        assert list(workspace.code.iterdir()) == []
        assert (overlay.lower / "sub" / "n").read_text() == "n"
        assert artifacts.seen("workspace") == overlay.lower
        assert overlay.upper == workspace.code
        assert overlay.work == workspace.private / "overlays" / "workspace"
        assert scene.shelf.lent == turn + 1
        (lock,) = artifacts.locks
        assert not is_free(lock)
    assert scene.store.reads == ["workspace.tar"]


@pytest.mark.parametrize(
    ("members", "size", "is_copied"), [(3, 6, True), (1000, 6, False), (3, 1 << 20, False)]
)
async def test_what_is_tiny_is_copied(
    scene: Scene,
    members: int,
    size: int,
    is_copied: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A few small files cost the disk less than an overlay does; the cache need not keep them."""
    scene.put("data.tar", {"sub/n": "n" * size})
    scene.shelf.members = members
    workspace, artifacts = scene.experiment("data")
    await artifacts.fetch(BUDGET)
    assert (artifacts.overlays, artifacts.locks) != ((), ()) or is_copied
    assert (workspace.directory("data") / "sub" / "n").exists() == is_copied
    assert scene.shelf.lent == (0 if is_copied else 1)


async def test_loans_end_when_they_are_given_back(scene: Scene) -> None:
    """Then nothing of ours keeps the cache from removing it; a second time is no error."""
    scene.put("workspace.tar", {"train.py": "print()"})
    scene.put("data.tar", {"a": "a"})
    _, artifacts = scene.experiment("workspace", "data")
    await artifacts.fetch(BUDGET)
    assert scene.shelf.lent == 2
    await artifacts.give_back()
    await artifacts.give_back()
    assert scene.shelf.lent == 0
    assert all(is_free(lock) for lock in artifacts.locks)


async def test_without_overlays_it_is_copied(scene: Scene) -> None:
    """The directory holds all of it, no byte shared with the cache, and no loan stays open."""
    scene.put("workspace.tar", {"train.py": "print()", "sub/n": "n"})
    for _ in range(2):
        workspace, artifacts = scene.experiment("workspace", can_overlay=False)
        await artifacts.fetch(BUDGET)
        before = look(scene.shelf.root)
        (workspace.code / "train.py").write_text("changed")
        assert look(scene.shelf.root) == before
        assert (workspace.code / "sub" / "n").read_text() == "n"
        assert (artifacts.overlays, artifacts.locks) == ((), ())
        assert artifacts.seen("workspace") == workspace.code
        assert scene.shelf.lent == 0
        assert not list(workspace.private.rglob("workspace"))
    assert scene.store.reads == ["workspace.tar"]


async def test_a_workspace_with_the_clients_distribution_is_copied(scene: Scene) -> None:
    """The installer reads it there as another user, who sees nobody's mounts."""
    scene.put("workspace.tar", {"train.py": "", "dist/studioml-1.0.tar.gz": "x"})
    workspace, artifacts = scene.experiment("workspace")
    await artifacts.fetch(BUDGET)
    assert artifacts.overlays == ()
    assert (workspace.code / "dist" / "studioml-1.0.tar.gz").read_text() == "x"


async def test_what_changes_is_never_shared(scene: Scene) -> None:
    """A mutable artifact is fetched for every attempt, and so is what lies where we write."""
    scene.put("modeldir.tar", {"a": "a"})
    scene.put("output.tar", {"./output": "said"})
    for label, mutable in (("modeldir", True), ("output", False)):
        for _ in range(2):
            workspace, artifacts = scene.experiment(label, mutable=mutable)
            await artifacts.fetch(BUDGET)
            assert artifacts.overlays == ()
            assert list(workspace.directory(label).iterdir()) != []
    assert scene.store.reads == ["modeldir.tar"] * 2 + ["output.tar"] * 2
    assert not scene.shelf.root.exists()


async def test_a_plain_file_is_attached_too(scene: Scene) -> None:
    """Under the name of its object, as it is when fetched for one."""
    (scene.root / "objects" / "numbers.tar").write_text("1,2")
    _, artifacts = scene.experiment("numbers", unpack=False)
    await artifacts.fetch(BUDGET)
    (overlay,) = artifacts.overlays
    assert (overlay.lower / "numbers.tar").read_text() == "1,2"


async def test_what_cannot_be_kept_is_fetched_as_ever(scene: Scene) -> None:
    """A full cache costs the fetch and nothing else."""
    scene.put("workspace.tar", {"train.py": "print()"})
    scene.shelf.has_room = False
    workspace, artifacts = scene.experiment("workspace")
    await artifacts.fetch(BUDGET)
    assert (workspace.code / "train.py").read_text() == "print()"
    assert artifacts.overlays == ()


@pytest.mark.parametrize("can_overlay", [True, False])
@pytest.mark.parametrize("is_kept", [True, False])
async def test_too_small_a_disk_need_fails_as_without_a_cache(
    scene: Scene,
    can_overlay: bool,  # noqa: FBT001 - a parameter of the test
    is_kept: bool,  # noqa: FBT001 - likewise
) -> None:
    """Whether it is there already or not, and whether it takes room or not."""
    with tarfile.open(scene.root / "objects" / "data.tar", "w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 4 << 20
        archive.addfile(info, io.BytesIO(bytes(4 << 20)))
    if is_kept:
        await scene.experiment("data")[1].fetch(BUDGET)
    workspace, artifacts = scene.experiment("data", can_overlay=can_overlay)
    with pytest.raises(TooLarge, match=rf"'data' .*more than the {3 << 20} bytes"):
        await artifacts.fetch(Bytes(3 << 20))
    assert not list(workspace.root.rglob("zeros"))
    assert artifacts.overlays == ()


async def test_kept_artifacts_count_together(scene: Scene) -> None:
    """Each would fit alone."""
    for label in ("one", "two"):
        scene.put(f"{label}.tar", {"zeros": "0" * (4 << 20)})
        await scene.experiment(label)[1].fetch(BUDGET)
    with pytest.raises(ArtifactBad):
        await scene.experiment("one", "two")[1].fetch(Bytes(6 << 20))
    await scene.experiment("one", "two")[1].fetch(Bytes(9 << 20))


async def test_errors_are_those_of_a_fetch(scene: Scene) -> None:
    """Missing, denied, no archive: label and location are named, and nothing stays."""
    _, artifacts = scene.experiment("data")
    with pytest.raises(ArtifactMissing, match="'data' is not at"):
        await artifacts.fetch(BUDGET)
    (scene.root / "objects" / "data.tar").write_text("<html>")
    with pytest.raises(ArtifactBad, match=r"'data' \(file://.*no archive"):
        await artifacts.fetch(BUDGET)
    scene.store.denied = {"data.tar"}
    with pytest.raises(ArtifactMissing, match="'data' cannot be read"):
        await artifacts.fetch(BUDGET)
    assert scene.shelf.lent == 0


class Neighbours(Shelf):
    """A cache in which the first fetch, if it fails, fails for everybody who waits for it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.first: BaseException | None = None
        self.over = anyio.Event()

    @asynccontextmanager
    async def lease(self, source: Source, fill: Fill) -> AsyncIterator[Kept | None]:
        """Share the first one's trouble with the second."""
        if self.first is not None and not self.over.is_set():
            self.over.set()
            raise self.first
        try:
            async with super().lease(source, fill) as kept:
                yield kept
        except AccessDenied as error:
            self.first = error
            raise


async def test_what_another_was_denied_is_no_answer_to_us(scene: Scene) -> None:
    """Its credentials may be worse than ours: we ask the store ourselves."""
    scene.put("data.tar", {"a": "a"})
    scene.shelf = Neighbours(scene.root / "cache")
    worse = Counting(scene.root / "objects")
    worse.denied = {"data.tar"}
    with pytest.raises(ArtifactMissing):
        await scene.experiment("data", store=worse)[1].fetch(BUDGET)
    _, artifacts = scene.experiment("data")
    await artifacts.fetch(BUDGET)
    assert len(artifacts.overlays) == 1


async def test_an_object_that_is_replaced_meanwhile_is_not_kept(scene: Scene) -> None:
    """Under the old one's name nothing else may be kept: the experiment waits for a quiet store."""
    scene.put("data.tar", {"a": "a"})

    class Listening(Shelf):
        @asynccontextmanager
        async def lease(self, source: Source, fill: Fill) -> AsyncIterator[Kept | None]:
            del source
            scene.put("data.tar", {"a": "b"})
            place = scene.root / "listening"
            place.mkdir()
            await fill(place, lambda _: None)
            yield None

    scene.shelf = Listening(scene.root / "cache")
    with pytest.raises(StoreUnavailable, match="replaced since"):
        await scene.experiment("data")[1].fetch(BUDGET)


async def test_a_store_that_does_not_answer_is_tried_later(scene: Scene) -> None:
    """As without a cache: the world must change, not the experiment."""
    scene.put("data.tar", {"a": "a"})

    class Silent(Counting):
        async def read(
            self,
            location: Location,
            consume: Callable[[BinaryIO], T],
            *,
            version: str | None = None,
        ) -> T:
            del consume, version
            raise StoreUnavailable(f"{location} does not answer")

    _, artifacts = scene.experiment("data", store=Silent(scene.root / "objects"))
    with pytest.raises(StoreUnavailable):
        await artifacts.fetch(BUDGET)


async def test_a_stopped_experiment_stops_waiting(scene: Scene) -> None:
    """Neither its fetch nor its loan goes on."""
    scene.put("data.tar", {"a": "a"})
    scene.store.gate = anyio.Event()
    _, artifacts = scene.experiment("data")
    with anyio.move_on_after(0.1) as scope:
        await artifacts.fetch(BUDGET)
    assert scope.cancelled_caught
    assert scene.shelf.lent == 0
    assert not (scene.shelf.root / "data.tar").exists()


async def test_a_change_of_content_is_another_version(scene: Scene) -> None:
    """Also when the writer sets size and time back to what they were; so no old tree is used."""
    scene.put("data.tar", {"a": "a"})
    path = scene.root / "objects" / "data.tar"
    location = Location("file", "", "", str(path))
    before = await scene.store.stat(location)
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(512)
        file.write(b"b")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = await scene.store.stat(location)
    assert before.size == after.size
    assert before.version != after.version
