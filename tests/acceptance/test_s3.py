"""The story of an experiment whose artifacts lie in S3, through the real daemon and SeaweedFS."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.model import Credentials
from tests.acceptance.box import LABELS, PATIENCE, Box, Json, packed, until
from tests.servers.s3 import S3Server
from tests.servers.seaweed import ALICE, READER

pytestmark = pytest.mark.service("s3")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


class Client:
    """What a StudioML client does with a server: it keeps everything in one bucket."""

    def __init__(self, box: Box, server: S3Server, bucket: str) -> None:
        self.box = box
        self.server = server
        self.bucket = bucket

    def submit(self, script: str, keys: Credentials = ALICE) -> str:
        """Store the workspace and the client's own object, and queue the message."""
        message = self.box.message(script)
        experiment = message["experiment"]
        key = str(experiment["key"])
        blob = f"blobstore/{key}.tar"
        self.server.put(self.bucket, blob, packed({"train.py": script}))
        artifacts = {
            label: self.artifact(f"experiments/{key}/{label}.tar", keys) for label in LABELS
        }
        artifacts["workspace"] = {**self.artifact(blob, keys), "mutable": False}
        del artifacts["tb"]["credentials"]  # those of config.storage count
        experiment["artifacts"] = artifacts
        store = {
            "type": "s3",
            "endpoint": self.server.endpoint,
            "bucket": self.bucket,
            "credentials": credentials(keys),
        }
        message["config"] |= {"storage": store, "database": store}
        self.server.put(self.bucket, f"experiments/{key}", json.dumps(experiment).encode())
        self.box.publish_message(message)
        return key

    def artifact(self, key: str, keys: Credentials) -> Json:
        """Return an artifact in the client's form."""
        return {
            "unpack": True,
            "mutable": True,
            "key": key,
            "bucket": self.bucket,
            "qualified": f"s3://{self.server.host}/{self.bucket}/{key}",
            "credentials": credentials(keys),
        }

    def member(self, key: str, label: str, name: str) -> bytes:
        """Return a file out of a stored artifact."""
        body = self.server.get(self.bucket, f"experiments/{key}/{label}.tar")
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

    def document(self, key: str) -> Json:
        """Return an object of the bucket that is JSON."""
        return dict(json.loads(self.server.get(self.bucket, key)))


def credentials(keys: Credentials) -> Json:
    """Write keys as a client does."""
    secret = keys.secret_key.reveal()
    aws = {"access_key": keys.access_key, "secret_access_key": secret, "region": "us-west-2"}
    return {"aws": aws}


@pytest.fixture
def client(box: Box, seaweed_server: S3Server, alice_bucket: str) -> Client:
    """Return a client that keeps its objects in Alice's bucket."""
    return Client(box, seaweed_server, alice_bucket)


def test_an_experiment_lives_in_s3(box: Box, client: Client) -> None:
    """Fetched and stored with the message's keys; claim record and client's status lie there."""
    key = client.submit(
        "print('hello from', __file__)\n"
        "open('../modeldir/weights.bin', 'wb').write(bytes(20_000_000))\n"
        "open('../tb/events', 'w').write('tb')\n"
    )
    began = time.time()
    daemon = box.start("--limit-idle-duration", "1s")
    assert daemon.wait(PATIENCE) == 0
    claim = client.document(f"experiments/{key}/_claim.{key}.json")
    assert claim["state"] == "ended"
    assert claim["outcome"] == {"cause": "completed", "exit_code": 0, "detail": ""}
    assert b"hello from" in client.member(key, "output", "./output")
    assert len(client.member(key, "modeldir", "weights.bin")) == 20_000_000
    assert client.member(key, "tb", "events") == b"tb"
    status = client.document(f"experiments/{key}")
    assert status["status"] == "finished"
    assert began <= status["time_started"] <= status["time_finished"]
    assert client.server.uploads(client.bucket) == []
    assert box.complaints() == []
    secret = ALICE.secret_key.reveal()
    assert secret not in box.log()
    assert secret.encode() not in client.member(key, "output", "./output")


def test_keys_that_may_only_read_are_said_to_be_so(box: Box, client: Client) -> None:
    """Whoever submitted reads why there are no results, and nobody reads the keys."""
    client.submit("print('for nobody')", READER)
    box.start()
    ended = until(lambda: box.settled() or None, "settled", box.log)[0]
    assert ended["cause"] == "results-denied"
    assert "output.tar: these credentials have no right to it" in ended["detail"]
    assert READER.secret_key.reveal() not in box.log()


def test_a_missing_workspace_fails_the_experiment(box: Box, client: Client) -> None:
    """The object is named in its output."""
    key = client.submit("print('never')")
    client.server.request("DELETE", f"/{client.bucket}/blobstore/{key}.tar")
    box.start("--limit-idle-duration", "1s")

    def ended() -> Json | None:
        name = f"experiments/{key}/_claim.{key}.json"
        if name not in client.server.keys(client.bucket):
            return None
        record = client.document(name)
        return record if record["state"] == "ended" else None

    assert until(ended, f"{key} ended", box.log)["outcome"]["cause"] == "artifact-missing"
    assert f"blobstore/{key}.tar" in client.member(key, "output", "./output").decode()
