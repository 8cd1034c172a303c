"""The client's commands with a bucket for a store."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from runner.archives.pack import pack_single
from runner.cli.telling import Person
from runner.client.bucket import Bucket, bucket_of
from runner.errors import Misconfigured
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State
from runner.model import Credentials, Location, Message, Request
from runner.redaction import Secret
from runner.request.schema import decode
from tests.cli.conftest import Desk
from tests.servers.s3 import S3Server


@pytest.fixture
def bucket(
    seaweed_server: S3Server, seaweed_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Bucket:
    """Return a bucket whose keys are in the environment."""
    keys = seaweed_server.admin
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key.reveal())
    for name in ("AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    return Bucket(seaweed_server.endpoint, seaweed_bucket)


def decoded(desk: Desk) -> Request:
    """Return what waits, as a runner reads it."""
    [message] = desk.messages()
    return decode(Message("id", json.dumps(message).encode(), "local_default"))


@pytest.mark.service("s3")
def test_a_submission_lies_in_the_bucket(
    desk: Desk, bucket: Bucket, seaweed_server: S3Server
) -> None:
    """The workspace is there, the message tells where and with which keys, and shows them nowhere.

    A second submission of the same files sends nothing.
    """
    status, out, err = desk.run("submit", "--store", str(bucket), "--key", "k1", "train.py")
    assert (status, out) == (0, "k1\n")
    request = decoded(desk)
    workspace = request.artifacts["workspace"]
    assert workspace.location.bucket == bucket.name
    assert workspace.credentials == seaweed_server.admin
    assert request.storage.endpoint == seaweed_server.endpoint
    assert request.storage.credentials == seaweed_server.admin
    assert request.artifacts["output"].location == bucket.location("experiments/k1/output.tar")
    with tarfile.open(
        fileobj=io.BytesIO(seaweed_server.get(bucket.name, workspace.location.key))
    ) as archive:
        assert "train.py" in archive.getnames()

    again, out, more = desk.run("submit", "--json", "--store", str(bucket), "train.py")
    assert again == 0
    assert json.loads(out)["store"] == str(bucket)
    assert "in s3://" in more
    assert "already" in more
    assert seaweed_server.admin.secret_key.reveal() not in err + more + out


@pytest.mark.service("s3")
def test_following_shows_what_a_runner_stored(
    desk: Desk, bucket: Bucket, seaweed_server: S3Server
) -> None:
    """Output and end come from the bucket; so does what ``logs`` prints later."""
    desk.run("submit", "--store", str(bucket), "--key", "k1", "train.py")
    (desk.root / "output").write_text("the output\n")
    stored = io.BytesIO()
    pack_single(desk.root / "output", stored)
    seaweed_server.put(bucket.name, "experiments/k1/output.tar", stored.getvalue())
    [message] = desk.messages()
    record = ClaimRecord(
        "k1",
        Owner("host", "daemon", "run"),
        attempt=1,
        state=State.ENDED,
        outcome=RecordedOutcome("exit", 3, "it exited with 3"),
        submitted=message["experiment"]["time_added"],
    )
    seaweed_server.put(bucket.name, "experiments/k1/_claim.k1.json", record.encode())

    status, out, err = desk.run("logs", "-f", "--store", str(bucket), "k1")
    assert (status, out) == (0, "the output\n")
    assert "k1: exit, attempt 1" in err
    assert desk.run("logs", "--store", str(bucket), "k1")[1] == "the output\n"
    status, _, err = desk.run("logs", "--store", str(bucket), "other")
    assert status == 1
    assert f"'other' is not known in {bucket}: no runner has begun it yet" in err
    status, _, err = desk.run("submit", "--store", str(bucket), "--key", "k1", "train.py")
    assert status == 2
    assert "give another --key, or none" in err


@pytest.mark.service("s3")
def test_cancel_marks_the_record(desk: Desk, bucket: Bucket, seaweed_server: S3Server) -> None:
    """It lies in a bucket of its own, since not every store has ``a`` and ``a/b``."""
    with seaweed_server.bucket() as records:
        store = ["--store", str(bucket), "--store-records", records]
        assert desk.run("submit", *store, "--project", "p", "--key", "k1", "train.py")[0] == 0
        database = decoded(desk).database
        assert (database.bucket, database.credentials) == (records, seaweed_server.admin)
        assert desk.run("cancel", *store, "k1")[0] == 0
        record = json.loads(seaweed_server.get(records, "experiments/k1"))
        assert record["status"] == "stopped"


@pytest.mark.service("s3")
def test_keys_that_are_wrong_are_one_sentence(
    desk: Desk, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys are wrong: it is said, and nothing is queued."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    status, _, err = desk.run("submit", "--store", str(bucket), "train.py")
    assert status == 1
    assert "secret key" in err
    assert not desk.queue.exists() or not desk.messages()


# ------------------------------------------------------------------------- how it is named


def read(text: str, environ: dict[str, str] | None = None, **options: object) -> Bucket:
    """Read ``--store``."""
    given = {"keys_file": None, "records": "", "clear_text": (), **options}
    return bucket_of(text, environ or {}, **given)  # type: ignore[arg-type]
    # a parameter's value each


@pytest.mark.parametrize(
    ("text", "endpoint", "location"),
    [
        ("s3://minio.lan:9000/b", "https://minio.lan:9000", "s3://minio.lan:9000/b/k"),
        ("s3://127.0.0.1:9000/b/", "http://127.0.0.1:9000", "s3://127.0.0.1:9000/b/k"),
        ("s3://plain.lan/b", "http://plain.lan", "s3://plain.lan/b/k"),
        (
            "s3:///b",
            "https://s3.us-west-2.amazonaws.com",
            "s3://s3.us-west-2.amazonaws.com/b/k",
        ),
    ],
)
def test_a_bucket_is_named_by_its_host(text: str, endpoint: str, location: str) -> None:
    """TLS unless it is this machine or a host that is named; no host means Amazon's."""
    found = read(text, {"AWS_DEFAULT_REGION": "us-west-2"}, clear_text=("plain.*",))
    assert found.endpoint == endpoint
    assert found.keys is None
    assert found.location("k") == Location("s3", endpoint.partition("//")[2], "b", "k")
    assert str(found.location("k")) == location


@pytest.mark.parametrize("text", ["s3://host", "s3://host/", "s3://u:p@host/b", "gs://b", "s3:///"])
def test_a_store_that_cannot_be_is_refused(text: str) -> None:
    """With the form that is accepted."""
    with pytest.raises(Misconfigured, match=r"s3://HOST"):
        read(text)


def test_a_bucket_without_keys_is_told_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners could not read the workspace, and would say so an hour later."""
    argv = ["submit", "--dry-run", "--store", "s3://127.0.0.1:1/b", "train.py"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    status, _, err = desk.run(*argv)
    assert (status, "no keys are given for s3://127.0.0.1:1/b" in err) == (0, True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    assert "no keys" not in desk.run(*argv)[2]


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """The file wins; half a pair is refused; no error shows what is in the file."""
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert read("s3://h/b", environ).keys == Credentials("a", Secret("s"), Secret("t"))
    path = tmp_path / "credentials"
    path.write_text(
        "[other]\naws_access_key_id=o\naws_secret_access_key=o\n"
        "[default]\naws_access_key_id = f\naws_secret_access_key = x%y\n"
    )
    assert read("s3://h/b", environ, keys_file=path).keys == Credentials("f", Secret("x%y"))
    with pytest.raises(Misconfigured, match="or neither"):
        read("s3://h/b", {"AWS_ACCESS_KEY_ID": "a"})
    for text in ("topsecret", "[default]\naws_access_key_id = topsecret\n", "[a]\n[a]\ntopsecret"):
        path.write_text(text)
        with pytest.raises(Misconfigured) as caught:
            read("s3://h/b", keys_file=path)
        assert "topsecret" not in str(caught.value)
        assert str(path) in str(caught.value)
    with pytest.raises(Misconfigured, match="cannot be read"):
        read("s3://h/b", keys_file=tmp_path / "none")


def test_a_store_that_is_not_there_is_not_waited_for_in_silence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sits there reads once what is tried again and why, and then that it is given up."""
    monkeypatch.setattr("runner.stores.remote.retrying._QUIET", 0.0)
    monkeypatch.setattr("runner.client.opening._ABSENCE", 0.5)
    monkeypatch.setattr("runner.cli.stores.PERSON", Person())
    status, _, err = desk.run("status", "k1", "--store", "s3://127.0.0.1:1/bucket")
    note, end = err.splitlines()
    assert status == 1
    assert note.startswith("note: s3://127.0.0.1:1/bucket/")
    assert note.endswith("Connection refused; trying again")
    assert "nothing listens there" in end
