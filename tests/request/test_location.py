"""Every way in which a client says where an artifact lies."""

from __future__ import annotations

import pytest

from runner.errors import BadField
from tests.request.sample import decoded, sample

S3 = {"type": "s3", "endpoint": "http://minio:9000", "bucket": "sb"}
LOCAL = {"type": "local", "endpoint": "/data/store/", "bucket": "sb"}


@pytest.mark.parametrize(
    ("artifact", "storage", "address"),
    [
        ({"qualified": "file:///data/x.tar"}, {}, "file:///data/x.tar"),
        ({"qualified": "file://home/guest/x.tar"}, {}, "file:///home/guest/x.tar"),
        ({"qualified": "file:/data//./x.tar"}, {}, "file:///data/x.tar"),
        ({"qualified": "file://localhost/data/x.tar"}, {}, "file:///data/x.tar"),
        ({"qualified": "FILE:///data/x%20y"}, {}, "file:///data/x%20y"),
        ({"key": "a/b.tar"}, LOCAL, "file:///data/store/sb/a/b.tar"),
        ({"key": "b.tar", "bucket": "own"}, LOCAL, "file:///data/store/own/b.tar"),
        ({"qualified": "s3://h:9000/b/k/x.tar"}, S3, "s3://h:9000/b/k/x.tar"),
        ({"qualified": "s3://h:9000/b/q", "bucket": "c", "key": "k"}, S3, "s3://h:9000/c/k"),
        ({"qualified": "s3://h//b/k", "bucket": "b", "key": "k"}, S3, "s3://h/b/k"),
        ({"qualified": "s3://b/k", "bucket": "b", "key": "k"}, S3, "s3://minio:9000/b/k"),
        ({"key": "k"}, S3, "s3://minio:9000/sb/k"),
        ({"qualified": "gs://bucket/k/x"}, {}, "gs://bucket/k/x"),
        ({"qualified": "gs://b/k", "bucket": "b", "key": "k"}, {}, "gs://b/k"),
        ({"qualified": "gs://b/k/x", "bucket": "b"}, {}, "gs://b/k/x"),
        ({"qualified": "gs://b/x", "key": "k"}, {}, "gs://b/k"),
        ({"qualified": "gs://storage.googleapis.com/b/k"}, {}, "gs://b/k"),
        ({"qualified": "gs://Storage.googleapis.com/b/k", "bucket": "b"}, {}, "gs://b/k"),
        ({"qualified": "gs://evil/b/k", "bucket": "b", "key": "k"}, {}, "gs://evil/b/k"),
        ({"key": "k", "bucket": "b"}, {"type": "gs"}, "gs://b/k"),
        ({"url": "HTTPS://H:443/a/b.tar#part"}, {}, "https://h:443/a/b.tar"),
        ({"qualified": "http://h:8080/a"}, {}, "http://h:8080/a"),
    ],
)
def test_an_address_is_brought_to_its_normal_form(
    artifact: dict[str, str], storage: dict[str, str], address: str
) -> None:
    """Equal objects have equal locations, whoever wrote them."""
    document = sample()
    document["experiment"]["artifacts"]["workspace"] = artifact
    document["config"]["storage"] = storage
    assert str(decoded(document).artifacts["workspace"].location) == address


def test_a_signed_address_is_kept_whole_and_shown_without_its_signature() -> None:
    """The query is part of the address; it is longer than any name, and a secret."""
    document = sample()
    signature = "sig=" + "s" * 500
    document["experiment"]["artifacts"]["workspace"] = {"url": f"https://h/a/b.tar?{signature}"}
    location = decoded(document).artifacts["workspace"].location
    assert location.key == f"a/b.tar?{signature}"
    assert str(location) == "https://h/a/b.tar?***"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pass-word@host/x?signature",
        "https://user:pass-word@[::1/x?signature",
        "https://host:port/x?signature",
        "https://host:99999/x?signature",
        "https://host/../x?signature",
        "https://host/x?signature\x7f",
    ],
)
def test_no_error_shows_what_is_secret_of_an_address(url: str) -> None:
    """Neither password nor signature reaches the sender's log."""
    document = sample()
    document["experiment"]["artifacts"]["workspace"] = {"url": url}
    with pytest.raises(BadField) as caught:
        decoded(document)
    assert "artifacts.workspace.url" in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert "signature" not in str(caught.value)


def test_a_google_bucket_is_a_bucket_and_no_host() -> None:
    """``gs://`` has no place for a host."""
    document = sample()
    document["experiment"]["artifacts"]["workspace"] = {"qualified": "gs://bucket/k"}
    location = decoded(document).artifacts["workspace"].location
    assert (location.host, location.bucket, location.key) == ("", "bucket", "k")


@pytest.mark.parametrize(
    ("address", "unpack", "expected"),
    [
        ("file:///x.tar", None, True),
        ("file:///x.tar.gz", None, True),
        ("file:///x.TGZ", None, True),
        ("file:///x.tar.bz2", None, True),
        ("file:///x.json", None, False),
        ("file:///x", None, False),
        ("https://h/x.tar?sig=1", None, True),
        ("file:///x.tar", False, False),
        ("file:///x.json", "true", True),
    ],
)
def test_archives_are_unpacked_where_the_client_left_it_open(
    address: str, unpack: object, expected: object
) -> None:
    """``unpack: null`` is what reused artifacts have."""
    document = sample()
    artifact = {"qualified": address, "unpack": unpack}
    document["experiment"]["artifacts"]["workspace"] = artifact
    assert decoded(document).artifacts["workspace"].unpack is expected


def test_a_container_image_needs_no_workspace() -> None:
    """Its label may have schemes that no store has."""
    document = sample()
    document["experiment"]["artifacts"] = {"_singularity": {"qualified": "shub://vsoch/hello"}}
    assert str(decoded(document).artifacts["_singularity"].location) == "shub://vsoch/hello"
