"""The S3 servers of the tests: fresh buckets for every test, and a SeaweedFS that checks rights."""

from __future__ import annotations

import dataclasses

import pytest

from runner.model import Credentials
from runner.redaction import Secret
from tests.servers.s3 import ANONYMOUS, S3Server
from tests.servers.seaweed import ADMIN, ALICE, READER


@pytest.mark.service("s3")
def test_what_was_stored_is_listed_and_read(seaweed_server: S3Server, seaweed_bucket: str) -> None:
    """A new bucket is empty, and signed requests find what they put into it."""
    assert seaweed_server.keys(seaweed_bucket) == []
    seaweed_server.put(seaweed_bucket, "a/b c", b"x")
    assert seaweed_server.keys(seaweed_bucket) == ["a/b c"]
    assert seaweed_server.get(seaweed_bucket, "a/b c") == b"x"


@pytest.mark.service("s3")
def test_an_open_upload_is_seen(seaweed_server: S3Server, seaweed_bucket: str) -> None:
    """What was begun in parts and neither completed nor aborted is listed."""
    seaweed_server.request("POST", f"/{seaweed_bucket}/key?uploads=")
    assert [key for key, _ in seaweed_server.uploads(seaweed_bucket)] == ["key"]


@pytest.mark.service("s3")
@pytest.mark.parametrize(
    ("by", "rights"),
    [
        (ADMIN, "rw"),
        (ALICE, "rw"),
        (READER, "r"),
        (ANONYMOUS, ""),
        (dataclasses.replace(ALICE, secret_key=Secret("wrong")), ""),
        (Credentials("nobody", Secret("secret")), ""),
    ],
    ids=["admin", "alice", "reader", "anonymous", "wrong secret", "unknown key"],
)
def test_each_key_may_do_what_it_may(
    seaweed_server: S3Server, alice_bucket: str, by: Credentials, rights: str
) -> None:
    """Signatures and the rights to each bucket are checked."""
    seaweed_server.put(alice_bucket, "key", b"x")
    path = f"/{alice_bucket}/key"
    assert (seaweed_server.request("GET", path, by=by).status == 200) == ("r" in rights)
    assert (seaweed_server.request("PUT", path, b"y", by=by).status == 200) == ("w" in rights)


@pytest.mark.service("s3")
def test_everybody_reads_a_public_bucket(seaweed_server: S3Server, public_bucket: str) -> None:
    """Without a key it is read and not written; with a key that has no right to it, neither."""
    seaweed_server.put(public_bucket, "key", b"x")
    path = f"/{public_bucket}/key"
    assert seaweed_server.request("GET", path, by=ANONYMOUS).status == 200
    assert seaweed_server.request("PUT", path, b"y", by=ANONYMOUS).status == 403
    assert seaweed_server.request("GET", path, by=ALICE).status == 403


@pytest.mark.service("sqs")
def test_moto_stores_and_lists(moto_server: S3Server, moto_bucket: str) -> None:
    """The other server answers the same requests."""
    moto_server.put(moto_bucket, "key", b"x")
    assert moto_server.keys(moto_bucket) == ["key"]
    assert moto_server.get(moto_bucket, "key") == b"x"
