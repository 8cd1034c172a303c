"""What people write for an image, in one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RequestError
from runner.images.reference import Kind, NotAnImage, Reference, of_location, of_text
from runner.model import StoreConfig
from runner.request.fields import Fields
from runner.request.location import IMAGE_LABEL, decode_location

DIGEST = "sha256:" + "0a" * 32
WRITTEN = {
    "docker://ubuntu": "docker://docker.io/library/ubuntu:latest",
    "docker://python:3.11-slim": "docker://docker.io/library/python:3.11-slim",
    "dockerhub://tensorflow/tensorflow:2.4": "docker://docker.io/tensorflow/tensorflow:2.4",
    "docker://index.docker.io/a/b": "docker://docker.io/a/b:latest",
    "docker://registry-1.docker.io/a": "docker://docker.io/library/a:latest",
    "docker://NVCR.io/nvidia/pytorch:24.01-py3": "docker://nvcr.io/nvidia/pytorch:24.01-py3",
    "docker://localhost:5000/a:1": "docker://localhost:5000/a:1",
    f"docker://a/b:1@{DIGEST}": f"docker://docker.io/a/b@{DIGEST}",
    "library://Alice/Images/tiny:2": "library://Alice/Images/tiny:2",
    "library://alpine": "library://alpine:latest",
    "oras://ghcr.io/team/image": "oras://ghcr.io/team/image:latest",
}
NO_IMAGES = (
    "docker://",
    "docker://-rf",
    "docker://a b",
    "docker://a/../b",
    "docker://user:password@host/a",
    "docker://a@sha256:00",
    "docker://a:",
    "docker://a:b:c",
    "docker://host.example:port/a",
    "docker://UPPER/case",
    "oras://image",
    "shub://sentient-singularity/x",
)


def of_message(address: str) -> Reference:
    """Return what the artifact of a message stands for."""
    fields = Fields({"qualified": address}, "artifact", [])
    return of_location(decode_location(IMAGE_LABEL, fields, StoreConfig()))


@pytest.mark.parametrize("text", WRITTEN)
def test_one_image_has_one_name(text: str) -> None:
    """However it is written, by an operator or in a message."""
    for found in (of_text(text), of_message(text)):
        assert (found.kind, found.text) == (Kind.REGISTRY, WRITTEN[text])
        assert found.is_pinned == (DIGEST in text)
        assert not found.is_recipe


@pytest.mark.parametrize("text", NO_IMAGES)
def test_what_can_be_no_image_is_refused(text: str) -> None:
    """By the operator's option as in a message: nothing of it comes to a command line."""
    with pytest.raises(NotAnImage):
        of_text(text)
    with pytest.raises((NotAnImage, RequestError)):
        of_message(text)


def test_paths_are_of_this_machine_and_stores_are_not() -> None:
    """A path may be written bare; objects keep no key of a signed address."""
    assert of_text("/srv/a.sif") == of_message("file:///srv/a.sif") == of_message("/srv//a.sif")
    assert of_text("/srv/a.sif").kind is Kind.LOCAL
    assert str(of_text("file:///srv/a.def").path) == "/srv/a.def"
    assert of_text("/srv/a.def").is_recipe
    stored = of_message("s3://Minio.lan:9000/images/team/a.sif")
    assert (stored.kind, stored.text) == (Kind.STORED, "s3://minio.lan:9000/images/team/a.sif")
    signed = of_message("https://host.example/a.sif?signature=secret")
    assert signed.text == "https://host.example/a.sif"
    for text in ("a.sif", "s3://host/bucket/a.sif", "ftp://host/a"):
        with pytest.raises(NotAnImage):
            of_text(text)


def test_what_is_pinned_is_never_asked_again() -> None:
    """The Library writes its digest as a tag; a tag that looks like one is none."""
    assert of_text("library://a/b/c:sha256." + "0a" * 32).is_pinned
    assert not of_text("docker://a:sha256-build").is_pinned


@given(st.text(max_size=60))
def test_no_text_is_anything_but_an_image_or_none(text: str) -> None:
    """What is taken reads as one word, and means the same when it is read again."""
    for scheme in ("docker", "oras", "library"):
        try:
            found = of_text(f"{scheme}://{text}")
        except NotAnImage:
            continue
        assert found.text.isascii()
        assert not set(found.text) & set(" \t\n'\"$`\\;&|<>()?*")
        assert of_text(found.text) == found
