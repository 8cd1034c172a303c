"""Images got by the real Apptainer: once, kept by their content, below one bound."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.app.errands import RunErrands
from runner.errors import ArtifactMissing, HostFault, Unavailable
from runner.images import apptainer
from runner.images.pulled import PulledImages
from runner.images.reference import of_text
from runner.model import Bytes
from runner.sandboxes.plain import PlainSandbox
from tests.servers.oras import Registry, registry
from tests.services import absence

pytestmark = [pytest.mark.anyio, pytest.mark.service("apptainer")]

HOUR = timedelta(hours=1)
Opener = Callable[..., AbstractAsyncContextManager[PulledImages]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Return three images with nothing in them but a word."""
    if reason := absence("apptainer"):
        pytest.skip(f"service apptainer: {reason}")
    root, made = tmp_path_factory.mktemp("tiny"), []
    for word in ("one", "two", "new"):
        (root / word).mkdir()
        (root / word / "word").write_text(word)
        command = ["apptainer", "build", f"{root}/{word}.sif", f"{root}/{word}"]
        subprocess.run(command, check=True, capture_output=True)
        made.append((root / f"{word}.sif").read_bytes())
    return made


@pytest.fixture
def oras(tiny: list[bytes]) -> Iterator[Registry]:
    """Return a registry with two images."""
    with registry() as made:
        made.images |= {"team/image:1": tiny[0], "team/other:1": tiny[1]}
        yield made


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    """Return what opens the images of one directory, for one daemon among several."""

    @asynccontextmanager
    async def open_one(name: str = "one", **options: Any) -> AsyncIterator[PulledImages]:
        errands = RunErrands(tmp_path / f"errands-{name}", PlainSandbox(), None, None)
        errands.open()
        given: dict[str, Any] = {
            "tool": apptainer.program(),
            "limit": Bytes(1 << 30),
            "ttl": HOUR,
            "patience": timedelta(minutes=1),
            "variables": os.environ,
            **options,
        }
        async with PulledImages(tmp_path / "images", errands, **given) as opened:
            yield opened

    return open_one


async def test_one_image_is_pulled_once_by_all_daemons(oras: Registry, opener: Opener) -> None:
    """However many want it at the same time; it is the registry's to the byte, and read-only."""
    reference = of_text(oras.address("team/image:1"))
    async with opener("one") as one, opener("two") as two:

        async def get(images: PulledImages) -> None:
            async with images.lease(reference) as image:
                assert image.path.read_bytes() == oras.images["team/image:1"]
                assert image.path.stat().st_mode & 0o777 == 0o444
                assert image.name == reference.text

        async with anyio.create_task_group() as group:
            for images in (one, two, one, two):
                group.start_soon(get, images)
    assert sum("/blobs/" in path for path in oras.asked) <= 2  # the file and its description
    assert not list((one.root / "staging").iterdir())


async def test_a_tag_is_asked_for_again_when_it_is_old(
    oras: Registry, opener: Opener, tiny: list[bytes]
) -> None:
    """What it stands for then is another image, and what it stood for may still be used."""
    now = 1000.0
    reference = of_text(oras.address("team/image:1"))
    async with (
        opener(ttl=timedelta(seconds=60), wall=lambda: now) as images,
        images.lease(reference) as before,
    ):
        oras.images["team/image:1"] = tiny[2]
        async with images.lease(reference) as same:
            assert same.key == before.key
        now += 61
        async with images.lease(reference) as after:
            assert after.key != before.key
            assert after.path.read_bytes() == tiny[2]
            assert before.path.read_bytes() == tiny[0]


async def test_an_older_image_does_where_the_registry_is_away(
    oras: Registry, opener: Opener
) -> None:
    """And says so; what was never there is tried again later."""
    now, said = 1000.0, list[str]()
    reference = of_text(oras.address("team/image:1"))
    async with opener(ttl=timedelta(0), wall=lambda: now, report=said.append) as images:
        async with images.lease(reference) as before:
            pass
        now, oras.is_broken = 2000.0, True
        async with images.lease(reference) as same:
            assert same.key == before.key
        assert "an older image is used" in said[-1]
        with pytest.raises(Unavailable, match="503"):
            async with images.lease(of_text(oras.address("team/other:1"))):
                pass


async def test_an_image_that_does_not_exist_is_its_senders_fault(
    oras: Registry, opener: Opener
) -> None:
    """The registry's words are told, and nothing stays."""
    async with opener() as images:
        with pytest.raises(ArtifactMissing, match="MANIFEST_UNKNOWN"):
            async with images.lease(of_text(oras.address("team/none:1"))):
                pass
        for folder in ("built", "staging"):
            assert not list((images.root / folder).iterdir())


async def test_images_stay_below_their_bound(
    oras: Registry, opener: Opener, tiny: list[bytes]
) -> None:
    """The one that nobody uses goes, and one that is leased stays."""
    async with opener(limit=Bytes(len(tiny[0]) * 3 // 2)) as images:
        async with images.lease(of_text(oras.address("team/image:1"))) as one:
            async with images.lease(of_text(oras.address("team/other:1"))):
                assert one.path.exists()
            assert one.path.exists()
        async with images.lease(of_text(oras.address("team/other:1"))) as other:
            assert other.path.exists()
        assert len(list((images.root / "built").iterdir())) == 1


async def test_an_image_that_was_changed_is_got_anew(oras: Registry, opener: Opener) -> None:
    """Where experiments are the daemon's own user, one may have reached it."""
    reference = of_text(oras.address("team/image:1"))
    async with opener() as images:
        async with images.lease(reference) as before:
            pass
        before.path.chmod(0o644)
        before.path.write_bytes(b"evil")
        async with images.lease(reference) as after:
            assert after.path.read_bytes() == oras.images["team/image:1"]


async def test_a_machine_without_apptainer_gets_none(opener: Opener) -> None:
    """The error is the machine's."""
    async with opener(tool=None) as images:
        with pytest.raises(HostFault, match="not installed"):
            async with images.lease(of_text("docker://a")):
                pass
