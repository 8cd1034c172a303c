"""The client's own object for an experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.lifecycle.ownership.client_status import ClientStatus, database_location
from runner.model import Experiment, Location, Needs, Request, StoreConfig
from runner.stores.base import Store
from runner.stores.local import LocalStore

pytestmark = pytest.mark.anyio


class Database:
    """A client's local database with one experiment in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = LocalStore((root,))
        self.object = root / "meta" / "experiments" / "key"
        self.write({"key": "key", "status": "waiting", "info": {"later": ["field"]}})

    def write(self, document: object) -> None:
        """Store a document as a client does: in place."""
        self.object.parent.mkdir(parents=True, exist_ok=True)
        self.object.write_text(json.dumps(document))

    def read(self) -> dict[str, Any]:
        """Return the document."""
        document: dict[str, Any] = json.loads(self.object.read_text())
        return document

    def status(self, kind: str = "local", endpoint: str | None = None) -> ClientStatus:
        """Return what keeps the experiment's status."""
        database = StoreConfig(kind, str(self.root) if endpoint is None else endpoint, "meta")
        return ClientStatus(
            Request(Experiment("key", "a.py"), Needs(), {}, database=database),
            self.store_for,
            clock=lambda: 1234.5,
        )

    async def store_for(self, _: Location) -> Store:
        """Return the store."""
        return self.store


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Give a database with one waiting experiment."""
    return Database(tmp_path / "lstore")


async def test_the_status_follows_the_experiment(database: Database) -> None:
    """The fields that clients read are set; what else is there stays."""
    status = database.status()
    kept = {"key": "key", "info": {"later": ["field"]}}

    assert await status.started() == ""
    assert database.read() == kept | {"status": "running", "time_started": 1234.5}
    assert await status.checkpoint() == ""
    assert database.read()["time_last_checkpoint"] == 1234.5
    assert await status.finished({"cause": "exit"}) == ""
    document = database.read()
    assert (document["status"], document["time_finished"]) == ("finished", 1234.5)
    assert document["runner"] == {"cause": "exit"}
    assert kept.items() <= document.items()


async def test_the_next_attempt_takes_the_verdict_back(database: Database) -> None:
    """Nobody reads of a running experiment that it has failed."""
    status = database.status()
    await status.finished({"cause": "host-fault"})
    await status.started()
    assert "runner" not in database.read()


async def test_a_client_can_stop_an_experiment(database: Database) -> None:
    """``studio-runs stop`` sets the status, before the start or during the run."""
    status = database.status()
    assert not await status.is_stopped()

    database.write(database.read() | {"status": "stopped"})

    assert await status.is_stopped()
    assert await status.is_stopped()
    again = database.status()
    await again.started()
    assert again.was_stopped
    assert database.read()["status"] == "stopped"
    assert await status.is_stopped()


async def test_a_missing_object_is_one_sentence_and_no_error(database: Database) -> None:
    """Somebody deleted it: the experiment's output says so once, and nothing is made up."""
    database.object.unlink()
    status = database.status()

    assert "it is not there" in await status.started()
    assert await status.finished({}) == ""
    assert not await status.is_stopped()
    assert not database.object.exists()


@pytest.mark.parametrize("body", ["[1]", "not json", "[" * 100_000, ""])
async def test_an_object_that_cannot_be_read_is_left_alone(database: Database, body: str) -> None:
    """What is no JSON object is not overwritten."""
    database.object.write_text(body)
    status = database.status()

    assert "is not kept" in await status.started()
    assert not await status.is_stopped()
    assert database.object.read_text() == body


async def test_other_databases_are_named_once(database: Database) -> None:
    """A firebase client hears that its status will not change; a request without one does not."""
    status = database.status("firebase")
    assert "firebase" in await status.started()
    assert await status.finished({}) == ""
    assert not await status.is_stopped()

    assert await database.status("").started() == ""
    assert "absolute path" in await database.status(endpoint="lstore").started()


async def test_a_database_outside_the_allowed_directory_is_a_sentence(database: Database) -> None:
    """The store's own words name the option that allows it."""
    status = database.status()
    database.store = LocalStore(())

    assert "--local-store-root" in await status.started()
    assert not await status.is_stopped()


@pytest.mark.parametrize(
    ("where", "location"),
    [
        (
            StoreConfig("local", "/data/lstore/", "studioml-meta"),
            Location("file", "", "", "/data/lstore/studioml-meta/experiments/key"),
        ),
        (
            StoreConfig("s3", "http://Minio.lan:9000", "meta"),
            Location("s3", "minio.lan:9000", "meta", "experiments/key"),
        ),
        (
            StoreConfig("s3", "http://user:password@minio.lan", "meta"),
            Location("s3", "minio.lan", "meta", "experiments/key"),
        ),
        (StoreConfig("s3", "", "meta"), Location("s3", "", "meta", "experiments/key")),
        (StoreConfig("s3", "minio", "meta"), Location("s3", "minio", "meta", "experiments/key")),
        (StoreConfig("s3", "http://minio:no", "meta"), None),
        (StoreConfig("s3", "http://minio", ""), None),
    ],
)
def test_the_object_lies_where_clients_write_it(
    where: StoreConfig, location: Location | None
) -> None:
    """Endpoint, bucket, ``experiments`` and the key; S3's endpoint in the form of artifacts."""
    request = Request(Experiment("key", "a.py"), Needs(), {}, database=where)

    assert database_location(request) == location
