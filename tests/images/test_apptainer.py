"""What Apptainer is told, and what its words mean: also where it cannot do it on this machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import (
    ArtifactBad,
    ArtifactMissing,
    HostFault,
    OutOfDisk,
    RunnerError,
    Unavailable,
)
from runner.images import apptainer
from runner.images.base import Ended
from runner.images.reference import of_text

TOOL, TARGET = Path("/usr/bin/apptainer"), Path("/work/image.sif")
HOUR = timedelta(hours=1)


def test_a_pull_names_the_image_as_it_was_trusted() -> None:
    """And keeps nothing of it in a cache that others would write to."""
    found = apptainer.getting(TOOL, of_text("dockerhub://a/b"), None, TARGET, is_root=False)
    assert found == (
        *("/usr/bin/apptainer", "pull", "--disable-cache"),
        *("/work/image.sif", "docker://docker.io/a/b:latest"),
    )
    library = apptainer.getting(TOOL, of_text("library://a/b/c:1"), None, TARGET, is_root=True)
    assert library[-3:] == ("--allow-unsigned", "/work/image.sif", "library://a/b/c:1")


def test_a_build_plays_root_where_it_is_not() -> None:
    """What stands in ``%post`` installs packages, which takes that."""
    recipe = Path("/work/image.def")
    user = apptainer.getting(TOOL, of_text("/srv/a.def"), recipe, TARGET, is_root=False)
    assert user[1:] == (
        *("build", "--disable-cache", "--fakeroot"),
        *("/work/image.sif", "/work/image.def"),
    )
    root = apptainer.getting(TOOL, of_text("/srv/a.def"), recipe, TARGET, is_root=True)
    assert "--fakeroot" not in root


def test_nothing_of_the_daemons_environment_but_the_way_to_the_network() -> None:
    """The key of a registry is for pulls: what a definition file says does not see it."""
    own = {
        "HTTPS_PROXY": "http://proxy:1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "APPTAINER_DOCKER_PASSWORD": "secret",
        "APPTAINER_BIND": "/etc",
        "APPTAINERENV_X": "x",
        "PATH": "/daemon",
        "HOME": "/root",
    }
    pull = apptainer.variables(Path("/scratch"), own, has_code=False)
    build = apptainer.variables(Path("/scratch"), own, has_code=True)
    assert pull["APPTAINER_DOCKER_PASSWORD"] == "secret"
    assert set(pull) - set(build) == {"APPTAINER_DOCKER_PASSWORD"}
    assert build["HTTPS_PROXY"] == "http://proxy:1"
    assert "secret" not in build.values()
    assert not {"APPTAINER_BIND", "APPTAINERENV_X", "AWS_SECRET_ACCESS_KEY"} & set(pull)
    for name in ("HOME", "TMPDIR", "APPTAINER_TMPDIR", "APPTAINER_CACHEDIR"):
        assert build[name].startswith("/scratch")


#: What Apptainer 1.4 said of each, shortened.
WORDS: tuple[tuple[str, type[RunnerError]], ...] = (
    ("dial tcp: lookup index.docker.io: no such host", Unavailable),
    ("dial tcp 127.0.0.1:1: connect: connection refused", Unavailable),
    ("toomanyrequests: You have reached your pull rate limit", Unavailable),
    ("Unable to get library client configuration: remote has no library client", Unavailable),
    ("reading manifest 3.99 in docker.io/library/alpine: manifest unknown", ArtifactMissing),
    ("requested access to the resource is denied", ArtifactMissing),
    ("localhost:5000/a:1: not found", ArtifactMissing),
    ("unpack: unpack layer: lchown /x: operation not permitted", HostFault),
    ("write /x: no space left on device", OutOfDisk),
)


@pytest.mark.parametrize(("words", "kind"), WORDS)
def test_the_end_of_a_pull_says_whose_fault_it_is(words: str, kind: type[RunnerError]) -> None:
    """What is not there stays so; what does not answer is tried again; the last lines are told."""
    reference = of_text("docker://a/b:1")
    ended = Ended(255, f"INFO: Starting\nFATAL: While performing build: {words}\n")
    error = apptainer.explain(reference, ended, HOUR, has_code=False)
    assert type(error) is kind
    assert reference.text in str(error)
    assert words in str(error)


def test_what_a_definition_file_does_is_its_senders() -> None:
    """But for a machine that lets its users build nothing, and a registry that is away."""
    reference = of_text("/srv/a.def")

    def kind(ended: Ended) -> type[RunnerError]:
        return type(apptainer.explain(reference, ended, HOUR, has_code=True))

    assert kind(Ended(1, "sh: 1: foo: not found\nwhile running %post section")) is ArtifactBad
    assert kind(Ended(1, "could not start root-mapped user namespace")) is HostFault
    assert kind(Ended(1, "lookup index.docker.io: no such host")) is Unavailable
    assert kind(Ended(None, "half way")) is ArtifactBad
    assert kind(Ended(None, "no mounts", started=False)) is HostFault


def test_a_pull_that_takes_too_long_is_tried_again() -> None:
    """The registry may have been slow; the error says how long was waited."""
    error = apptainer.explain(of_text("docker://a"), Ended(None, "Copying"), HOUR, has_code=False)
    assert isinstance(error, Unavailable)
    assert "1:00:00" in str(error)
