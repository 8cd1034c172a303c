"""Which images the operator's patterns stand for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.images.reference import Kind, Reference, of_text
from runner.images.trust import DEFAULT, Trust, is_possible, matches

CASES: tuple[tuple[str, str, bool], ...] = (
    ("dockerhub://tensorflow/*", "docker://tensorflow/tensorflow:2.4", True),
    ("docker://tensorflow/*", "docker://docker.io/tensorflow/tensorflow", True),
    ("docker://tensorflow/*", "docker://evil.example/tensorflow/tensorflow", False),
    ("docker://tensorflow/*", "docker://tensorflow:5000/tensorflow", False),
    ("docker://tensorflow/*", "docker://tensorflow.evil/x", False),
    ("docker://tensor*/*", "docker://tensor.evil.example/x", False),
    ("docker://tensorflow/tensorflow", "docker://tensorflow/tensorflow:2.4-gpu", True),
    ("docker://tensorflow/tensorflow", "docker://tensorflow/tensorflow@sha256:" + "a" * 64, True),
    ("docker://tensorflow/tensorflow:2.4", "docker://tensorflow/tensorflow:2.5", False),
    ("docker://tensorflow/tensorflow", "docker://tensorflow/tensorflow-evil", False),
    ("docker://python:3.*", "docker://python:3.11", True),
    ("docker://python:3.*", "docker://python:2.7", False),
    ("docker://nvcr.io/*", "docker://nvcr.io/nvidia/pytorch:1", True),
    ("docker://*/pytorch", "docker://nvcr.io/pytorch", False),
    ("docker://*", "docker://nvcr.io/nvidia/pytorch:1", True),
    ("docker://**/pytorch", "docker://nvcr.io/nvidia/pytorch:1", True),
    ("library://*", "docker://a", False),
    ("oras://ghcr.io/team/*", "oras://GHCR.io/team/x", True),
    ("/srv/images/*", "/srv/images/deep/a.sif", True),
    ("/srv/images/*.sif", "/srv/images/deep/a.sif", False),
    ("/srv/images/*.sif", "/srv/images/a.sif", True),
    ("/srv/images", "/srv/images/a.sif", False),
    ("/srv/images/*", "/srv/images", False),
    ("/srv/images/*", "/srv/images-evil/a.sif", False),
)


@pytest.mark.parametrize(("pattern", "text", "fits"), CASES)
def test_a_pattern_stands_for_what_it_seems_to(pattern: str, text: str, *, fits: bool) -> None:
    """A star is no slash: no host, no other user of a registry comes in by one."""
    assert Trust((pattern,)).allows(of_text(text)) is fits


@pytest.mark.parametrize(
    "pattern", ["foo", "images/*", "ftp://x/*", "*", "**", "docker://", "file://images/*", "://x"]
)
def test_a_pattern_that_can_stand_for_nothing_is_told_apart(pattern: str) -> None:
    """A slip of the hand is not to look like trust."""
    assert not is_possible(pattern)


@pytest.mark.parametrize(
    "pattern",
    [*DEFAULT, *(pattern for pattern, _, _ in CASES), "file:///srv/*", "gs://b/*", "https://h/*"],
)
def test_a_pattern_that_stands_for_something_is_possible(pattern: str) -> None:
    """Also one of images that nobody serves any more: it is the original's default."""
    assert is_possible(pattern)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("s3://minio.lan:9000/images/*", True),
        ("s3://MINIO.lan:9000/images/team/a.sif", True),
        ("s3://*.lan:9000/images/*", True),
        ("s3://*/images/*", True),
        ("s3://minio.lan:9000/*.sif", False),
        ("s3://evil/*", False),
        ("*", False),
    ],
)
def test_images_in_stores_are_trusted_by_their_address(pattern: str, *, fits: bool) -> None:
    """None is without a pattern of the operator's."""
    stored = Reference(Kind.STORED, "s3://minio.lan:9000/images/team/a.sif")
    assert Trust((pattern,)).allows(stored) is fits
    assert not Trust(DEFAULT).allows(stored)


def test_a_definition_file_is_trusted_by_name_alone() -> None:
    """A directory of images is not one of programs that are run here."""
    recipe = of_text("/srv/images/a.def")
    assert not Trust(("/srv/images/*", "/srv/**")).allows(recipe)
    assert Trust(("/srv/images/*.def",)).allows(recipe)
    assert ".def" in Trust(("/srv/images/*",)).refusal(recipe)


def test_both_names_of_a_local_image_count() -> None:
    """A link in a trusted directory does not lead out of it."""
    image = of_text("/srv/images/a.sif")
    assert Trust(("/srv/images/*",)).allows(image, "/srv/images/b.sif")
    assert not Trust(("/srv/images/*",)).allows(image, "/etc/shadow")
    assert Trust(("/srv/images/*", "/disk/*")).allows(image, "/disk/a.sif")


def test_a_refusal_names_what_is_trusted_and_the_option() -> None:
    """Whoever reads it knows what to write, or what to ask for."""
    told = Trust(("docker://a/*", "/srv/*")).refusal(of_text("docker://b/c"))
    assert "docker://a/*, /srv/*" in told
    assert "--trusted-images" in told
    assert "none" in Trust(()).refusal(of_text("docker://b/c"))


_WORDS = st.text("ab/*.:", min_size=1, max_size=12)


@given(_WORDS, st.text("ab/.:", min_size=1, max_size=12))
def test_a_star_is_never_a_slash_but_at_the_end(pattern: str, name: str) -> None:
    """Whatever is trusted has the parts of the pattern, in their order."""
    text = f"s3://{name}"
    if "**" in pattern or not matches(f"s3://{pattern}", text) or set(pattern) == {"*"}:
        return
    wanted, found = pattern.split("/"), name.split("/")
    assert len(found) >= len(wanted)
    for one, part in zip(wanted[:-1], found, strict=False):
        expression = ".*".join(re.escape(piece) for piece in one.split("*"))
        assert re.fullmatch(expression, part)
