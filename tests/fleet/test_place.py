"""How a person names the fleet's store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Misconfigured
from runner.fleet.place import FleetPlace, place_of
from runner.model import Location


@pytest.mark.parametrize(
    ("text", "folder", "root"),
    [
        ("file:///srv/lab", Location("file", "", "", "/srv/lab/fleet"), "/srv/lab"),
        ("file:///srv/my%20lab", Location("file", "", "", "/srv/my lab/fleet"), "/srv/my lab"),
        ("/srv/lab/", Location("file", "", "", "/srv/lab/fleet"), "/srv/lab"),
        ("s3:///team", Location("s3", "", "team", "fleet"), None),
        ("s3:///team/a/b/", Location("s3", "", "team", "a/b/fleet"), None),
        ("s3://minio.lan:9000/team", Location("s3", "minio.lan:9000", "team", "fleet"), None),
        ("s3://[::1]:9000/team/x", Location("s3", "[::1]:9000", "team", "x/fleet"), None),
        ("gs://team", Location("gs", "", "team", "fleet"), None),
        ("gs://team/a", Location("gs", "", "team", "a/fleet"), None),
    ],
)
def test_every_form_is_understood(text: str, folder: Location, root: str | None) -> None:
    """A directory, a bucket of any host with or without a prefix, Google's."""
    assert place_of(text) == FleetPlace(folder, Path(root) if root else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lab",
        "../lab",
        "/srv/../etc",
        "file://host/srv",
        "s3://host",
        "s3:///",
        "s3://me@host/bucket",
        "s3:///bucket/../other",
        "s3:///bucket?versions",
        "gs://",
        "ftp://host/bucket",
        "s3://[half/bucket",
    ],
)
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    """The sentence names the option and what may be written."""
    with pytest.raises(Misconfigured, match=r"--fleet-store .*file:///DIRECTORY, s3://HOST"):
        place_of(text)


@pytest.mark.parametrize(
    "text", ["s3://user:hunter2@host/bucket", "s3://host/bucket?X-Signature=hunter2"]
)
def test_a_secret_in_the_address_is_not_shown(text: str) -> None:
    """Whoever reads the error does not learn it."""
    with pytest.raises(Misconfigured) as caught:
        place_of(text)
    assert "hunter2" not in str(caught.value)


@given(st.text())
def test_no_text_leads_out_of_its_folder(text: str) -> None:
    """Whatever is written is refused, or a folder whose path has no way up."""
    try:
        place = place_of(text)
    except Misconfigured:
        return
    key = place.location("host-id.json").key
    assert key.endswith("fleet/host-id.json")
    assert ".." not in key.split("/")
