"""The artifacts of one attempt, between a real store and a real workspace."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.from_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ArtifactBad, ArtifactMissing, BadField, RunnerError, StoreUnavailable
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.fetching import _share
from runner.lifecycle.artifacts.forms import metadata_location, plain
from runner.lifecycle.artifacts.notes import Note, Notes
from runner.lifecycle.artifacts.storing import Stored
from runner.lifecycle.runs.workspace import Workspace
from runner.model import (
    Artifact,
    Bytes,
    Experiment,
    Identity,
    Location,
    Needs,
    Request,
    StoreConfig,
)
from runner.stores.base import AccessDenied, ObjectInfo, Store, unasked
from runner.stores.local import LocalStore

pytestmark = pytest.mark.anyio

BUDGET = Bytes(10 << 20)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")


class Recording(LocalStore):
    """A local store that remembers in which order it was written, and fails where it is told."""

    def __init__(self, root: Path) -> None:
        super().__init__((root,))
        self.writes: list[str] = []
        self.trouble: dict[str, RunnerError] = {}

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Write, unless the object's name is in trouble."""
        name = location.key.rpartition("/")[2]
        if name in self.trouble:
            raise self.trouble[name]
        info = await super().write(location, produce, permitted=permitted)
        self.writes.append(name)
        return info


class Denying(LocalStore):
    """A store that tells nobody what it does not have."""

    async def stat(self, location: Location) -> ObjectInfo:
        """Deny."""
        raise AccessDenied(f"{location} is denied")


class Halting(Recording):
    """A store whose first write never ends by itself."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.started = anyio.Event()

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Write the half, the first time."""

        def halt(stream: BinaryIO) -> None:
            stream.write(b"half")
            anyio.from_thread.run_sync(self.started.set)
            while True:
                stream.write(b"")

        chosen = produce if self.started.is_set() else halt
        return await super().write(location, chosen, permitted=permitted)


class Scene:
    """A store with objects, and a request that names some of them as artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.objects.mkdir()
        self.recording = Recording(self.objects)
        self.store: Store = self.recording
        self.wanted: dict[str, Artifact] = {}
        self.storage = StoreConfig()
        self.workspace = Workspace.create(root / "w", "key")

    def artifact(
        self, label: str, *, mutable: bool = True, unpack: bool = True, name: str = ""
    ) -> Artifact:
        """Add an artifact to the request."""
        key = str(self.objects / (name or f"{label}.tar"))
        location = Location("file", "", "", key)
        self.wanted[label] = Artifact(label, location, mutable=mutable, unpack=unpack)
        return self.wanted[label]

    def put(self, name: str, files: dict[str, str], *, gzip: bool = False) -> None:
        """Store an archive."""
        with tarfile.open(self.objects / name, "w:gz" if gzip else "w:") as archive:
            for member, text in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))

    def members(self, name: str) -> dict[str, str | None]:
        """Return what a stored archive holds; directories as ``None``."""
        found: dict[str, str | None] = {}
        with tarfile.open(self.objects / name) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                found[member.name] = file.read().decode() if file else None
        return found

    def read(self, name: str) -> bytes:
        """Return an object as it is."""
        return (self.objects / name).read_bytes()

    def has(self, name: str) -> bool:
        """Tell whether the store holds an object."""
        return (self.objects / name).exists()

    def write(self, path: str, text: str) -> None:
        """Write a file in the workspace, as the experiment does."""
        place = self.workspace.root / path
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_text(text)

    def found(self, label: str) -> dict[str, str]:
        """Return the files below a label's directory."""
        top = self.workspace.root / label
        return {
            str(path.relative_to(top)): path.read_text()
            for path in top.rglob("*")
            if path.is_file()
        }

    async def store_for(self, _: Artifact) -> Store:
        """Return the store."""
        return self.store

    def artifacts(self) -> Artifacts:
        """Return what is tested; another one each time, as after a restart of the daemon."""
        request = Request(
            Experiment("key", "a.py"), Needs(), dict(self.wanted), storage=self.storage
        )
        return Artifacts(request, self.workspace, self.store_for)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Give an empty store and a fresh workspace."""
    return Scene(tmp_path)


@pytest.fixture
def open_scene() -> Iterator[Scene]:
    """Give the same where every user of the machine may pass through; tmp_path is private."""
    place = Path(tempfile.mkdtemp(prefix="artifacts-", dir="/tmp"))
    place.chmod(0o755)
    yield Scene(place)
    shutil.rmtree(place)


# ----------------------------------------------------------------------------- fetching


async def test_artifacts_are_fetched_each_into_its_directory(scene: Scene) -> None:
    """Archives are unpacked, plain files get their object's name, mutable ones come too."""
    scene.artifact("workspace")
    scene.put("workspace.tar", {"hello.py": "print()", "sub/n.txt": "n"})
    scene.artifact("data", mutable=False, unpack=False, name="numbers.csv")
    (scene.objects / "numbers.csv").write_text("1,2")
    scene.artifact("args", mutable=False)
    scene.put("args.tar", {"./args": "pickle"})

    await scene.artifacts().fetch(BUDGET)

    assert scene.found("workspace") == {"hello.py": "print()", "sub/n.txt": "n"}
    assert scene.found("data") == {"numbers.csv": "1,2"}
    assert scene.found("args") == {"args": "pickle"}


async def test_a_mutable_artifact_may_be_missing_and_has_its_directory(scene: Scene) -> None:
    """The experiment finds a place to write for each label; metadata and images are not fetched."""
    for label in ("modeldir", "_metadata", "_singularity"):
        scene.artifact(label)
    scene.put("_metadata.tar", {"old": "x"})
    scene.put("_singularity.tar", {"old": "x"})

    assert await scene.artifacts().fetch(BUDGET) == ()

    assert scene.workspace.directory("modeldir").is_dir()
    assert scene.workspace.directory("_metadata").is_dir()
    assert scene.found("_metadata") == {}
    assert not scene.workspace.directory("_singularity").exists()


async def test_an_immutable_artifact_must_exist(scene: Scene) -> None:
    """The error names label and location."""
    artifact = scene.artifact("data", mutable=False)

    with pytest.raises(ArtifactMissing) as caught:
        await scene.artifacts().fetch(BUDGET)
    assert f"'data' is not at {artifact.location}" in str(caught.value)


@pytest.mark.parametrize("mutable", [True, False])
async def test_a_file_outside_the_allowed_directory_is_the_senders_to_mend(
    scene: Scene,
    mutable: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Before the run, not after it; the store's message names the option."""
    scene.artifact("data", mutable=mutable)
    scene.store = LocalStore(())

    with pytest.raises(ArtifactMissing, match=r"'data'.*--local-store-root"):
        await scene.artifacts().fetch(BUDGET)


async def test_a_denied_mutable_object_is_tolerated_and_said(scene: Scene) -> None:
    """Object stores deny what does not exist to whoever may not list the bucket."""
    scene.store = Denying((scene.objects,))
    artifact = scene.artifact("tb")
    scene.wanted["tb"] = replace(artifact, location=Location("s3", "host", "bucket", "tb.tar"))

    (warning,) = await scene.artifacts().fetch(BUDGET)

    assert "'tb' was not fetched" in warning


@pytest.mark.parametrize("others", [0, 2])
async def test_what_is_no_archive_is_named(scene: Scene, others: int) -> None:
    """Label and location stand before what the archive's reader says; no half tree stays."""
    artifact = scene.artifact("data", mutable=False)
    (scene.objects / "data.tar").write_bytes(b"<html>404</html>")
    for number in range(others):
        scene.artifact(f"other{number}")
        scene.put(f"other{number}.tar", {"a": "a"})

    with pytest.raises(ArtifactBad) as caught:
        await scene.artifacts().fetch(BUDGET)
    assert f"'data' ({artifact.location})" in str(caught.value)
    assert not list(scene.workspace.private.rglob("*data*"))


async def test_the_budget_is_shared_by_all(scene: Scene) -> None:
    """Each would fit alone; together they do not, however well they are compressed."""
    for label in "abc":
        scene.artifact(label, mutable=False, name=f"{label}.tgz")
        scene.put(f"{label}.tgz", {"zeros": "0" * (4 << 20)}, gzip=True)

    with pytest.raises(ArtifactBad, match=r"'[abc]'"):
        await scene.artifacts().fetch(BUDGET)

    del scene.wanted["c"]
    await scene.artifacts().fetch(BUDGET)
    assert len(scene.found("b")["zeros"]) == 4 << 20


async def test_a_small_archive_beside_a_large_one_gets_what_it_needs(scene: Scene) -> None:
    """Sizes in the store say little about sizes unpacked; what is left over is used."""
    scene.artifact("big", mutable=False)
    scene.put("big.tar", {"zeros": "0" * (5 << 20)})
    scene.artifact("small", mutable=False, name="small.tgz")
    scene.put("small.tgz", {"zeros": "0" * (4 << 20)}, gzip=True)

    await scene.artifacts().fetch(BUDGET)

    assert len(scene.found("small")["zeros"]) == 4 << 20


async def test_more_in_the_store_than_the_disk_need_is_not_even_fetched(scene: Scene) -> None:
    """The error says which field to raise."""
    scene.artifact("data", mutable=False)
    scene.put("data.tar", {"zeros": "0" * (1 << 20)})

    with pytest.raises(ArtifactBad, match=r"resources_needed\.hdd"):
        await scene.artifacts().fetch(Bytes(1 << 20))


async def test_an_unstated_disk_need_gets_the_operators_budget(scene: Scene) -> None:
    """Zero is "not stated", not "nothing"."""
    scene.artifact("data", mutable=False)
    scene.put("data.tar", {"a": "a"})

    await scene.artifacts().fetch(Bytes(0))

    assert scene.found("data") == {"a": "a"}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.integers(0, 10**13))
def test_shares_never_exceed_the_budget(sizes: list[int], slack: int) -> None:
    """And nobody's share is less than what is stored."""
    there = sum(sizes)
    shares = [_share(size, there, len(sizes), there + slack) for size in sizes]

    assert sum(shares) <= there + slack
    assert all(share >= size for share, size in zip(shares, sizes, strict=True))


def test_a_lone_artifact_may_use_all() -> None:
    """To the last byte, so that the error names the budget that was asked for."""
    assert _share(7, 7, 1, 64_000_000) == 64_000_000


def test_notes_outlive_a_disk_that_takes_none(tmp_path: Path) -> None:
    """What is stored is stored: the note is known until the daemon is restarted."""
    workspace = Workspace.create(tmp_path / "w", "key")
    workspace.private.rmdir()
    notes = Notes(workspace)
    notes.keep("output", Note("seen"))
    assert notes.of("output") == Note("seen")
    assert Notes(workspace).of("output") == Note()


def test_a_label_that_is_ours_is_refused_at_once(scene: Scene) -> None:
    """Before anything is fetched."""
    scene.artifact("_runner")

    with pytest.raises(BadField):
        scene.artifacts()


@as_root
async def test_what_is_fetched_belongs_to_the_experiments_user(open_scene: Scene) -> None:
    """Unpacked as root, owned by whom the experiment runs as."""
    scene = open_scene
    scene.workspace = Workspace.create(scene.root / "x", "key", Identity(65534, 65534))
    scene.artifact("workspace", mutable=False)
    scene.put("workspace.tar", {"sub/hello.py": "print()"})
    scene.artifact("modeldir")

    await scene.artifacts().fetch(BUDGET)

    code = scene.workspace.code
    made = [code, code / "sub" / "hello.py", scene.workspace.directory("modeldir")]
    assert {path.lstat().st_uid for path in made} == {65534}


# ----------------------------------------------------------------------------- storing


async def test_retval_is_stored_last_and_output_before_it(scene: Scene) -> None:
    """Clients take the appearance of retval for the whole result."""
    for label in ("_metrics", "a", "modeldir", "output", "retval", "tb", "zz"):
        scene.artifact(label)
        scene.write(f"{label}/{label}", "x")

    stored = await scene.artifacts().upload(final=True)

    writes = scene.recording.writes
    assert writes[-1] == "retval.tar"
    assert "output.tar" in writes
    assert sorted(f"{label}.tar" for label in stored) == sorted(writes)
    assert stored["output"].size == stored["output"].sent == len(scene.read("output.tar"))


async def test_a_checkpoint_never_stores_retval(scene: Scene) -> None:
    """A half-written result must not look like one."""
    for label in ("output", "retval"):
        scene.artifact(label)
        scene.write(f"{label}/{label}", "x")

    assert list(await scene.artifacts().upload(final=False)) == ["output"]
    assert await scene.artifacts().upload(["retval"], final=False) == {}
    assert not scene.has("retval.tar")


async def test_one_file_labels_are_stored_as_the_client_reads_them(scene: Scene) -> None:
    """``./name`` alone for output, retval and _metrics; everything else is a directory."""
    for label in ("output", "retval", "_metrics", "modeldir"):
        scene.artifact(label)
        scene.write(f"{label}/{label}", label)

    await scene.artifacts().upload(final=True)

    assert scene.members("output.tar") == {"./output": "output"}
    assert scene.members("retval.tar") == {"./retval": "retval"}
    assert scene.members("_metrics.tar") == {"./_metrics": "_metrics"}
    assert scene.members("modeldir.tar") == {"modeldir": "modeldir"}


async def test_more_than_one_file_is_a_directory(scene: Scene) -> None:
    """Also under the labels that are one file as a rule."""
    scene.artifact("output")
    scene.write("output/output", "log")
    scene.write("output/plot.png", "png")

    await scene.artifacts().upload(final=True)

    assert scene.members("output.tar") == {"output": "log", "plot.png": "png"}


async def test_what_came_as_one_file_goes_back_as_one(scene: Scene) -> None:
    """Also after a restart of the daemon; and as a directory once there are more files."""
    scene.artifact("state")
    scene.put("state.tar", {"./state.bin": "1"})
    scene.artifact("modeldir")
    scene.put("modeldir.tar", {"model": "1"})
    await scene.artifacts().fetch(BUDGET)
    scene.write("state/state.bin", "two")
    scene.write("modeldir/model", "two")

    await scene.artifacts().upload(final=False)
    assert scene.members("state.tar") == {"./state.bin": "two"}
    assert scene.members("modeldir.tar") == {"model": "two"}

    scene.write("state/other", "3")
    await scene.artifacts().upload(final=False)
    assert scene.members("state.tar") == {"state.bin": "two", "other": "3"}


async def test_only_what_changed_is_stored(scene: Scene) -> None:
    """Since it was fetched or stored, whichever was later; a restart forgets nothing."""
    scene.artifact("modeldir")
    scene.put("modeldir.tar", {"model": "1"})
    scene.artifact("tb")
    artifacts = scene.artifacts()
    await artifacts.fetch(BUDGET)
    assert await artifacts.upload(final=True) == {}

    scene.write("modeldir/model", "2")
    assert list(await artifacts.upload(final=False)) == ["modeldir"]
    assert await artifacts.upload(final=False) == {}
    assert await scene.artifacts().upload(final=True) == {}


async def test_an_empty_directory_is_stored_only_over_something(scene: Scene) -> None:
    """What was there and was cleared away is cleared in the store, too."""
    scene.artifact("tb")
    scene.artifact("modeldir")
    scene.put("modeldir.tar", {"model": "1"})
    artifacts = scene.artifacts()
    await artifacts.fetch(BUDGET)
    (scene.workspace.directory("modeldir") / "model").unlink()

    assert list(await artifacts.upload(final=True)) == ["modeldir"]
    assert scene.members("modeldir.tar") == {}
    assert not scene.has("tb.tar")


async def test_the_keys_extension_chooses_the_compression(scene: Scene) -> None:
    """As the client named it, so it will be read by others."""
    scene.artifact("modeldir", name="modeldir.tar.gz")
    scene.write("modeldir/model", "x")

    await scene.artifacts().upload(final=False)

    assert scene.read("modeldir.tar.gz")[:2] == b"\x1f\x8b"
    assert scene.members("modeldir.tar.gz") == {"model": "x"}


async def test_a_plain_file_is_stored_as_it_is(scene: Scene) -> None:
    """With ``unpack: false`` there is no archive in either direction."""
    scene.artifact("counter", unpack=False, name="counter.txt")
    (scene.objects / "counter.txt").write_text("1")
    artifacts = scene.artifacts()
    await artifacts.fetch(BUDGET)
    scene.write("counter/counter.txt", "22")

    await artifacts.upload(final=False)
    assert scene.read("counter.txt") == b"22"

    scene.write("counter/second", "x")
    with pytest.raises(ArtifactBad, match=r"'counter'.*unpack: false"):
        await artifacts.upload(final=False)


def test_a_plain_file_that_grows_comes_to_an_end(tmp_path: Path) -> None:
    """Of one that an experiment writes faster than it is sent, what there was is stored."""
    path = tmp_path / "log"
    path.write_bytes(b"first")

    class Growing(io.BytesIO):
        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
            """Have the file grow with each piece."""
            assert self.tell() < 100
            path.write_bytes(path.read_bytes() + b"more")
            return super().write(data)

    stream = Growing()
    assert plain(path).pack(stream, None).bytes == 5
    assert stream.getvalue() == b"first"


async def test_metadata_is_stored_file_by_file(scene: Scene) -> None:
    """Under ``metadata/`` of the client's storage, each only when it changed."""
    scene.storage = StoreConfig("local", str(scene.objects), "bucket")
    scene.artifact("_metadata")
    scene.write("_metadata/scrape-host-a.json", "{}\n")
    scene.write("_metadata/mine.txt", "mine")
    (scene.workspace.directory("_metadata") / "link").symlink_to("/etc/passwd")
    artifacts = scene.artifacts()

    assert await artifacts.upload(final=False) == {"_metadata": Stored(Bytes(7), Bytes(7))}
    assert await artifacts.upload(final=False) == {}

    assert sorted(scene.recording.writes) == ["mine.txt", "scrape-host-a.json"]
    assert scene.read("bucket/metadata/mine.txt") == b"mine"
    assert not scene.has("_metadata.tar")


def test_metadata_lies_in_the_artifacts_bucket() -> None:
    """Or, for files without a storage in the request, beside the artifact."""
    s3 = Location("s3", "host", "bucket", "experiments/key/_metadata.tar")
    artifact = Artifact("_metadata", s3, mutable=True, unpack=True)
    found = metadata_location(artifact, StoreConfig("s3", "http://host", "bucket"), "a.json")
    assert found == replace(s3, key="metadata/a.json")

    file = replace(artifact, location=Location("file", "", "", "/data/x/_metadata.tar"))
    assert metadata_location(file, StoreConfig(), "a").key == "/data/x/metadata/a"
    local = StoreConfig("local", "/data/lstore/", "storage")
    assert metadata_location(file, local, "a").key == "/data/lstore/storage/metadata/a"


async def test_one_failing_upload_does_not_stop_the_others(scene: Scene) -> None:
    """All are named at the end; retval waits while another try may mend it."""
    for label in ("output", "modeldir", "tb", "retval"):
        scene.artifact(label)
        scene.write(f"{label}/x", "x")
    scene.recording.trouble = {
        "modeldir.tar": StoreUnavailable("no answer"),
        "tb.tar": AccessDenied("not yours"),
    }
    artifacts = scene.artifacts()

    with pytest.raises(StoreUnavailable, match=r"'modeldir': no answer.*'tb': not yours"):
        await artifacts.upload(final=True)
    assert scene.recording.writes == ["output.tar"]

    del scene.recording.trouble["modeldir.tar"]
    with pytest.raises(ArtifactMissing, match="'tb'"):
        await artifacts.upload(final=True)
    assert scene.recording.writes == ["output.tar", "modeldir.tar", "retval.tar"]


async def test_a_link_in_the_place_of_a_directory_is_not_followed(scene: Scene) -> None:
    """An experiment cannot have the daemon store what it could not read itself."""
    scene.artifact("tb")
    scene.workspace.directory("tb").symlink_to(scene.objects)

    with pytest.raises(ArtifactBad, match="replaced"):
        await scene.artifacts().upload(final=True)
    assert scene.recording.writes == []


async def test_what_an_archive_had_to_leave_out_is_said(scene: Scene) -> None:
    """A model behind a link that leaves the directory is not silently lost."""
    scene.artifact("modeldir")
    scene.write("modeldir/here", "x")
    (scene.workspace.directory("modeldir") / "there").symlink_to("/etc/hostname")
    artifacts = scene.artifacts()

    await artifacts.upload(final=False)

    (warning,) = artifacts.warnings
    assert "'modeldir' lacks 'there'" in warning
    assert scene.members("modeldir.tar") == {"here": "x"}


async def test_a_cancelled_upload_publishes_nothing_half(scene: Scene) -> None:
    """What was there before stays, and the next upload stores it."""
    scene.store = halting = Halting(scene.objects)
    scene.artifact("tb")
    scene.put("tb.tar", {"a": "old"})
    artifacts = scene.artifacts()
    await artifacts.fetch(BUDGET)
    scene.write("tb/a", "new")

    async with anyio.create_task_group() as group:

        async def upload() -> None:
            await artifacts.upload(final=False)

        group.start_soon(upload)
        await halting.started.wait()
        group.cancel_scope.cancel()

    assert scene.members("tb.tar") == {"a": "old"}
    await artifacts.upload(final=False)
    assert scene.members("tb.tar") == {"a": "new"}


async def test_progress_is_told_label_by_label(scene: Scene) -> None:
    """As each object is there, not at the end."""
    told: dict[str, Stored] = {}
    for label in ("output", "tb"):
        scene.artifact(label)
        scene.write(f"{label}/x", "x")

    stored = await scene.artifacts().upload(final=False, on_stored=told.__setitem__)

    assert told == stored


def test_a_note_that_may_wait_is_there_when_it_is_settled(tmp_path: Path) -> None:
    """Of all that a pass has stored one record is written; what took long is written at once."""
    workspace = Workspace.create(tmp_path, "key")
    notes = Notes(workspace)
    notes.keep("output", Note("small"), later=True)
    assert Notes(workspace).of("output") == Note()
    assert notes.of("output") == Note("small")
    notes.keep("modeldir", Note("large"))
    assert Notes(workspace).of("output") == Note("small")
    notes.keep("tb", Note("small"), later=True)
    notes.settle()
    assert Notes(workspace).of("tb") == Note("small")
    assert Notes(workspace).of("modeldir") == Note("large")


AS_NOBODY = """
import anyio, anyio._backends._asyncio, asyncio, os, sys
from pathlib import Path
from runner.errors import RunnerError
from tests.lifecycle.test_artifacts import Scene
os.setgroups([]); os.setgid(65534); os.setuid(65534)

async def main():
    scene = Scene(Path(sys.argv[1]))
    for label in ("output", "modeldir", "retval", "_metadata"):
        scene.artifact(label)
        scene.write(f"{label}/{label}", "whole")
    for label in ("modeldir", "_metadata"):
        scene.workspace.directory(label).chmod(0)
    try:
        await scene.artifacts().upload(final=True)
    except RunnerError as error:
        print(type(error).__name__, error)
    for label in ("modeldir", "_metadata"):
        scene.workspace.directory(label).chmod(0o700)
anyio.run(main)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_an_experiment_has_closed_costs_nothing_else() -> None:
    """Its own user's daemon cannot read it then; all others are stored, its result as well."""
    place = Path(tempfile.mkdtemp(prefix="artifacts-", dir="/var/tmp"))
    try:
        place.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(place)],
            check=False,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        said = "ArtifactBad not stored: artifact 'modeldir': the experiment has left it so that it"
        assert said in done.stdout, done
        assert sorted(path.name for path in (place / "objects").iterdir()) == [
            "output.tar",
            "retval.tar",
        ]
    finally:
        shutil.rmtree(place)
