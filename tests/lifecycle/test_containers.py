"""Which image an experiment wants, whether it may, and images that are artifacts."""

from __future__ import annotations

import tarfile
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from runner.cache.base import Cache
from runner.errors import ArtifactBad, ArtifactMissing, BadField
from runner.images.base import Image
from runner.images.reference import Kind, Reference, of_text
from runner.images.trust import Trust
from runner.lifecycle.artifacts.forms import IMAGE
from runner.lifecycle.artifacts.image import ImageArtifact
from runner.lifecycle.runs.containers import Closed, Containers
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes, Experiment, Location, Needs, Request
from runner.stores.local import LocalStore
from tests.lifecycle.test_lending import Shelf

pytestmark = pytest.mark.anyio

REFERENCE = Reference(Kind.STORED, "s3://host/images/a.sif")
PLENTY = Bytes(1 << 20)


def request(location: Location | None) -> Request:
    """Return a request with, or without, an image."""
    artifacts = (
        {} if location is None else {IMAGE: Artifact(IMAGE, location, mutable=False, unpack=False)}
    )
    return Request(Experiment("key", "train.py"), Needs(), artifacts)


async def test_who_names_no_image_has_the_operators() -> None:
    """Without asking whether it is trusted; and none where the operator has none."""
    default = of_text("/srv/images/a.sif")
    assert await Containers(default=default).wanted(request(None)) == default
    assert await Containers().wanted(request(None)) is None


async def test_what_cannot_run_here_is_given_back() -> None:
    """It is an obstacle for experiments with an image alone."""

    async def refuse() -> Closed:
        return Closed("Apptainer is not installed")

    bare = Containers(try_one=refuse)
    assert not await bare.obstacle(request(None))
    said = await bare.obstacle(request(Location("docker", "", "", "tensorflow/x")))
    assert "Apptainer is not installed" in said


async def test_no_container_is_started_before_an_experiment_wants_one() -> None:
    """And one alone, for however many that come at once."""
    asked = list[str]()

    async def look() -> Closed:
        asked.append("")
        await anyio.lowlevel.checkpoint()
        return Closed()

    containers = Containers(try_one=look)
    await containers.obstacle(request(None))
    assert asked == []
    image = request(Location("docker", "", "", "tensorflow/x"))
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(containers.obstacle, image)
    assert len(asked) == 1


async def test_who_gives_up_waiting_spoils_no_trial() -> None:
    """The next one who wants a container tries again."""
    begun = anyio.Event()

    async def look() -> Closed:
        if not begun.is_set():
            begun.set()
            await anyio.sleep_forever()
        return Closed("seen")

    containers = Containers(try_one=look)
    async with anyio.create_task_group() as group:
        group.start_soon(containers.shop)
        await begun.wait()
        group.cancel_scope.cancel()
    assert await containers.shop() == Closed("seen")


async def test_a_link_out_of_a_trusted_directory_is_refused(tmp_path: Path) -> None:
    """And the refusal names field, image and option."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "good.sif").touch()
    (tmp_path / "secret").touch()
    (images / "link.sif").symlink_to(tmp_path / "secret")
    containers = Containers(trust=Trust((f"{images}/*",)))
    good = await containers.wanted(request(Location("file", "", "", f"{images}/good.sif")))
    assert good is not None
    assert good.path == images / "good.sif"
    with pytest.raises(BadField) as refused:
        await containers.wanted(request(Location("file", "", "", f"{images}/link.sif")))
    for word in ("experiment.artifacts._singularity.qualified", "link.sif", "--trusted-images"):
        assert word in str(refused.value)


class Scene:
    """A store with one object, and a workspace."""

    def __init__(self, root: Path) -> None:
        (root / "objects").mkdir()
        self.object = root / "objects" / "image.sif"
        self.store = LocalStore((root / "objects",))
        self.workspace = Workspace.create(root / "work", "key")
        self.shelf = Shelf(root / "shelf")
        self.is_archive = False

    async def store_for(self, artifact: Artifact) -> LocalStore:
        """Return the store."""
        del artifact
        return self.store

    async def fetch(
        self, stack: AsyncExitStack, cache: Cache | None, budget: Bytes = PLENTY
    ) -> Image:
        """Fetch the object as an image."""
        location = Location("file", "", "", str(self.object))
        artifact = Artifact(IMAGE, location, mutable=False, unpack=self.is_archive)
        found = ImageArtifact(artifact, self.workspace, cache, self.store_for)
        return await found.fetch(REFERENCE, stack, budget)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Return a scene with nothing in its store."""
    return Scene(tmp_path)


@pytest.mark.parametrize("has_room", [True, False])
async def test_an_image_in_a_store_is_a_file_of_this_machine(
    scene: Scene, *, has_room: bool
) -> None:
    """Of the cache, with a lock that keeps it there; else of this attempt alone."""
    scene.object.write_bytes(b"image")
    scene.shelf.has_room = has_room
    async with AsyncExitStack() as stack:
        image = await scene.fetch(stack, scene.shelf)
        assert image.path.read_bytes() == b"image"
        assert (image.lock is not None) is has_room
        assert image.path.is_relative_to(scene.shelf.root if has_room else scene.workspace.private)
        assert scene.shelf.lent == int(has_room)


async def test_an_archive_is_the_directory_of_a_system(scene: Scene) -> None:
    """Its members are the root of what the experiment sees."""
    scene.is_archive = True
    tree = scene.workspace.root.parent / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "sh").write_text("shell")
    with tarfile.open(scene.object, "w") as tar:
        tar.add(tree, arcname=".")
    async with AsyncExitStack() as stack:
        image = await scene.fetch(stack, None)
        assert (image.path / "bin" / "sh").read_text() == "shell"


async def test_an_image_that_is_not_there_or_too_large_is_the_senders(scene: Scene) -> None:
    """The error names the label, and the option that would let it in."""
    async with AsyncExitStack() as stack:
        with pytest.raises(ArtifactMissing, match=IMAGE):
            await scene.fetch(stack, None)
        scene.object.write_bytes(b"image" * 100)
        with pytest.raises(ArtifactBad, match="--image-cache-size"):
            await scene.fetch(stack, None, Bytes(100))
