"""What an image's Python says of itself is asked once, and believed as far as it can be true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.errors import ArtifactBad, HostFault, PythonMissing
from runner.images.base import Ended, Errand, Image
from runner.images.interior import Interiors

pytestmark = pytest.mark.anyio

HONEST = {
    "version": "3.11.2",
    "python": "/usr/bin/python3.11",
    "path": "/usr/bin:/bin",
    "implementation": "cpython",
    "platform": "linux-x86_64",
    "abi": "cpython-311-x86_64-linux-gnu",
    "libc": "glibc 2.36",
    "folders": ["/usr/lib/python3/dist-packages"],
    "described": [["numpy", "1.26.4", ["typing_extensions>=4"]]],
    "packages": ["numpy==1.26.4"],
}


class Answers:
    """Programs of an image that print what they are told to."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    async def run(self, errand: Errand) -> Ended:
        """End as a Python does that runs, and as a shell that finds none."""
        assert errand.image is not None
        return Ended(0, self.texts.pop(0)) if self.texts else Ended(127, "not found")


def said(**changed: object) -> str:
    """Return the line that the probe prints, with some of it changed."""
    return "studio-runner-interior " + json.dumps({**HONEST, **changed})


def kept(memory: Path) -> list[Path]:
    """Return the files of what is remembered."""
    return list(memory.iterdir())


IMAGE = Image("file:///srv/a.sif", Path("/srv/a.sif"), "a" * 32)


async def test_an_answer_is_kept(tmp_path: Path) -> None:
    """The second look starts nothing, also in the next daemon."""
    first = await Interiors(tmp_path, Answers("a banner\n" + said())).look(IMAGE, None)
    assert first == await Interiors(tmp_path, Answers()).look(IMAGE, None)
    assert first.base is not None
    assert first.base.described == (("numpy", "1.26.4", ("typing_extensions>=4",)),)


@pytest.mark.parametrize(
    "text",
    [
        "studio-runner-interior {",
        "studio-runner-interior []",
        "studio-runner-interior {}",
        said(version="3.11"),
        said(version="3.11.2/../../../etc"),
        said(python="python"),
        said(python="/usr/bin/py\nthon"),
        said(path=None),
        said(described=[["numpy"]]),
        said(packages="numpy"),
    ],
    ids=str,
)
async def test_an_answer_that_cannot_be_true_is_the_images_fault(tmp_path: Path, text: str) -> None:
    """Whoever made the image may print what he likes: it is no defect of this machine's."""
    with pytest.raises(ArtifactBad, match="does not say what it is"):
        await Interiors(tmp_path, Answers(text)).look(IMAGE, None)
    assert kept(tmp_path) == []


async def test_a_spoilt_memory_is_asked_again(tmp_path: Path) -> None:
    """A half-written or older file is as good as none."""
    await Interiors(tmp_path, Answers(said())).look(IMAGE, None)
    (file,) = kept(tmp_path)
    file.write_bytes(b'{"version": ')
    found = await Interiors(tmp_path, Answers(said(version="3.12.1"))).look(IMAGE, None)
    assert found.version == "3.12.1"


async def test_a_disk_that_keeps_no_answer_is_the_hosts_fault(tmp_path: Path) -> None:
    """It is no defect of the image's, and none of ours: elsewhere it can be asked."""
    (tmp_path / "memory").write_text("no directory")
    with pytest.raises(HostFault, match="cannot be noted"):
        await Interiors(tmp_path / "memory", Answers(said())).look(IMAGE, None)


async def test_without_any_python_the_remedy_is_named(tmp_path: Path) -> None:
    """The image's own program needs none."""
    with pytest.raises(PythonMissing, match="leave filename empty"):
        await Interiors(tmp_path, Answers()).look(IMAGE, None)
