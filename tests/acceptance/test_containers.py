"""Experiments in container images, through the real daemon and the real Apptainer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.box import Box
from tests.environments import packages
from tests.passage import open_to_all
from tests.servers import apptainer
from tests.servers.oras import registry
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.service("apptainer")

#: Says where it is, what it sees, and who it is.
SCRIPT = """
import os, sys
print("image", open("/image-name").read(), "python", sys.executable, sys.version_info[:2])
import imagepackage
print("imagepackage", imagepackage.VERSION, "uid", os.getuid())
print("sees", os.path.exists(sys.argv[1]), "args", sys.argv[2:], "cwd", os.listdir("."))
open("../modeldir/result", "w").write("made inside")
"""
#: Puts something over the programs that cannot be run.
WITHOUT_APPTAINER = (
    *("unshare", "--mount", "sh", "-c"),
    'for one in $(command -v apptainer singularity); do mount --bind /dev/null "$one"; done; "$@"',
    "sh",
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Return a machine on which another user can work."""
    with Box(tmp_path) as made:
        open_to_all(tmp_path)
        yield made


def submit(box: Box, script: str, image: str, **fields: Any) -> str:
    """Queue an experiment for an image."""
    workspace = fields.pop("has_workspace", True)
    message = box.message(script, **fields)
    artifacts = message["experiment"]["artifacts"]
    artifacts["_singularity"] = {"qualified": image, "mutable": False}
    if not workspace:
        del artifacts["workspace"]
    return box.publish(message)


@contextmanager
def images_of(place: str, file: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve an image; give its address, and a list of what was asked for."""
    if place == "a registry":
        with registry(file) as oras:
            yield oras.address("team/image:1"), oras.asked
        return
    body, asked = file.read_bytes(), list[str]()

    def answer(request: Asked) -> Reply:
        # Looking at an object is asking for its first byte.
        asked.append("LOOK" if request.range else f"{request.method} {request.target}")
        return Reply(headers={"ETag": '"one"', "Accept-Ranges": "none"}, body=body)

    with WebServer(answer).serving() as web:
        yield f"{web.url}/images/tiny.sif", asked


def completed(box: Box, key: str) -> str:
    """Return the output of an experiment that must have completed."""
    outcome = box.outcome(key)
    assert outcome["cause"] == "completed", (outcome, box.output(key), box.log()[-6000:])
    return box.output(key)


@pytest.mark.parametrize("form", ["directory", "file"])
def test_a_script_runs_with_the_python_of_its_image(
    box: Box, image: Path, image_file: Path, form: str
) -> None:
    """It sees the image's system and packages and its own directories, and nothing else of here."""
    path = image if form == "directory" else image_file
    box.start("--trusted-images", f"{path.parent}/*")
    here = str(box.root / "store")
    key = submit(box, SCRIPT, f"file://{path}", args=[here, "a b", "$HOME"])
    output = completed(box, key)
    assert "image tiny python /usr/bin/python3" in output, output
    assert f"imagepackage {apptainer.VERSION}" in output
    assert "sees False args ['a b', '$HOME'] cwd ['train.py']" in output
    assert box.stored(key, "modeldir", "result") == b"made inside"


@pytest.mark.parametrize("user", ["nobody", "the daemon's"])
def test_requirements_are_installed_over_what_the_image_has(
    box: Box, image: Path, user: str
) -> None:
    """With the image's Python; what it brings is found, and what it lacks is built once."""
    shelf = box.root / "shelf"
    packages.wheel(shelf, "colours", requires=(f"{apptainer.PACKAGE}>=1.0",), commands={"x": "y:z"})
    packages.source(shelf, "handmade")
    open_to_all(shelf)
    options = ["--no-index", "--find-links", str(shelf), "--trusted-images", f"{image}"]
    if user == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can be another user")
        options += ["--run-as", "nobody"]
    box.start(*options)
    script = """
import os, sys, colours, handmade, imagepackage
print("has", colours.VERSION, imagepackage.VERSION, handmade.BY, os.getuid())
print("at", imagepackage.__file__, sys.prefix != sys.base_prefix)
try:
    open(colours.__file__, "a").write("damage")
except OSError as error:
    print("kept", type(error).__name__)
"""
    fields = {"pythonenv": ["colours==1.0", "handmade==1.0"]}
    outputs = [completed(box, submit(box, script, f"file://{image}", **fields)) for _ in range(2)]
    uid = 65534 if user == "nobody" else os.getuid()
    for output in outputs:
        assert f"has 1.0 1.5 {uid} {uid}" in output, output
        assert "at /usr/lib/python3/dist-packages/imagepackage/__init__.py True" in output
        assert "kept" in output
    assert len(list((box.state / "environments" / "built").iterdir())) == 1


def test_the_images_own_program_runs_where_no_script_is_named(box: Box, image: Path) -> None:
    """There need not be a workspace either."""
    box.start("--trusted-images", f"{image}")
    key = submit(box, "", f"file://{image}", filename="", args=["a b"], has_workspace=False)
    assert f"{apptainer.RUNSCRIPT_WORD} a b\n" in completed(box, key)


@pytest.mark.parametrize("user", ["nobody", "the daemon's"])
def test_an_image_is_built_once_as_a_definition_file_says(box: Box, image: Path, user: str) -> None:
    """Of a file that the operator trusts by name; what it sets is there in the run."""
    options, base = [], image
    if user == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can be another user")
        # Who has no range of users in /etc/subuid can copy nothing but what is its own.
        base = apptainer.make_image(box.root / "base")
        subprocess.run(["chown", "-Rh", "65534:65534", base], check=True)  # noqa: S607 - PATH
        options = ["--run-as", "nobody"]
    recipe = box.root / "recipes" / "mine.def"
    recipe.parent.mkdir()
    recipe.write_text(
        f"Bootstrap: localimage\nFrom: {base}\n%environment\n  export FROM_RECIPE=yes\n"
    )
    open_to_all(recipe.parent)
    box.start("--trusted-images", f"{recipe.parent}/*.def", *options)
    script = "import os; print(open('/image-name').read(), os.environ['FROM_RECIPE'], os.getuid())"
    uid = 65534 if user == "nobody" else os.getuid()
    for _ in range(2):
        assert f"tiny yes {uid}\n" in completed(box, submit(box, script, f"file://{recipe}"))
    made = list((box.state / "images" / "built").iterdir())
    assert len(made) == 1
    assert (made[0] / "image.sif").stat().st_uid == os.getuid()


@pytest.mark.parametrize("place", ["a store", "a registry"])
def test_an_image_comes_to_the_machine_once(box: Box, image_file: Path, place: str) -> None:
    """Through the artifact cache, or by Apptainer itself; the second experiment finds it there."""
    with images_of(place, image_file) as (address, asked):
        box.start("--trusted-images", address, "--http-private-hosts", "127.0.0.1")
        script = "print(open('/image-name').read())"
        assert "tiny\n" in completed(box, submit(box, script, address))
        before = len(asked)
        assert before
        assert "tiny\n" in completed(box, submit(box, script, address))
        assert not [one for one in asked[before:] if "GET" in one]


def test_all_experiments_run_in_the_operators_image(box: Box, image: Path) -> None:
    """Those that name another one run in that, as far as it is trusted."""
    box.start("--container", str(image))
    assert "tiny\n" in completed(box, box.submit("print(open('/image-name').read())"))
    refused = submit(box, "print('never')", "docker://evil.example/tensorflow/x")
    assert box.outcome(refused)["cause"] == "bad-request"
    told = box.output(refused)
    assert "experiment.artifacts._singularity.qualified" in told
    assert "docker://evil.example/tensorflow/x:latest" in told
    assert "--trusted-images" in told


REFUSED = {
    "shub://sentient-singularity/x": "Singularity Hub",
    "docker://python:3.11": "--trusted-images",
    "/etc/passwd": "--trusted-images",
    "s3://bucket.example/images/x.sif": "--trusted-images",
    "docker://tensorflow/-rf": "can be no part of an image's name",
}


def test_images_that_nobody_trusts_are_refused_by_name(box: Box) -> None:
    """With the defaults, which are the original runner's; nothing is fetched."""
    box.start()
    keys = {submit(box, "print('never')", image): says for image, says in REFUSED.items()}
    for key, says in keys.items():
        assert box.outcome(key)["cause"] == "bad-request"
        assert says in box.output(key)
        assert "never" not in box.output(key)


@as_root
def test_a_machine_without_apptainer_leaves_them_to_others(box: Box, image: Path) -> None:
    """The message goes back uncounted and untouched, and what needs no image runs."""
    box.start("--trusted-images", str(image), wrapper=WITHOUT_APPTAINER)
    key = submit(box, "print('never')", f"file://{image}")
    ending = box.ended(key)
    assert ending["cause"] == "sandbox-unavailable", ending
    assert box.claim(key) is None
    assert box.outcome(box.submit("print('here')"))["cause"] == "completed"
