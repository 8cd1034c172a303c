"""A fleet in a bucket: real servers, through the runner's own identity."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

import anyio
import pytest

from runner.fleet.place import FleetPlace, place_of
from runner.fleet.reading import Fleet, Reader
from runner.fleet.writing import Writer
from runner.stores.base import AccessDenied, StoreOptions
from runner.stores.gcs.client import GcsClient
from runner.stores.minio import MinioClient
from runner.stores.pool import StorePool
from runner.stores.s3 import S3Client
from tests.fleet.beats import Teller, eventually
from tests.servers.fake_gcs import GcsServer
from tests.servers.s3 import S3Server, keys

pytestmark = pytest.mark.anyio

OWN = StoreOptions(allow_own_credentials=True)


@pytest.fixture
def bucket(seaweed_server: S3Server, seaweed_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a bucket that the environment's keys open."""
    own = keys("admin")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", own.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own.secret_key.reveal())
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return f"s3://{seaweed_server.host}/{seaweed_bucket}"


@pytest.fixture
def google(gcs_server: GcsServer, gcs_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a bucket at an imitation of Google's storage."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.endpoint)
    return f"gs://{gcs_bucket}"


def _has_written(writer: Writer) -> bool:
    return writer.written > 0


async def told_and_seen(place: FleetPlace, options: StoreOptions) -> Fleet:
    """Have two runners tell once and end, and look."""
    for host in ("one", "two"):
        teller = Teller(host)
        writer = Writer(place, options, teller.now, teller.farewell, timedelta(hours=1))
        async with anyio.create_task_group() as group:
            group.start_soon(writer.write)
            await eventually(partial(_has_written, writer))
            group.cancel_scope.cancel()
        assert writer.written == 2
    async with StorePool(options) as pool:
        # A clock that is years off: the store's counts.
        return await Reader(place, pool, clock=lambda: 0.0).look()


def check(fleet: Fleet) -> None:
    """See that both have ended, and are not late."""
    hosts = [one.beat.host for one in fleet.runners if one.beat is not None]
    assert hosts == ["one", "two"]
    assert all(one.is_over and not one.is_late for one in fleet.runners)
    assert fleet.forgotten == ()


@pytest.mark.service("s3")
async def test_a_fleet_in_an_s3_bucket(
    bucket: str, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """Two runners are two small objects below the prefix, seen by the server's own clock."""
    check(await told_and_seen(place_of(f"{bucket}/lab/a"), OWN))
    names = seaweed_server.keys(seaweed_bucket)
    assert sorted(names) == [f"lab/a/fleet/{host}-0a1b2c3d.json" for host in ("one", "two")]
    body = seaweed_server.get(seaweed_bucket, names[0])
    assert len(body) < 1000
    assert json.loads(body)["version"] == 1


@pytest.mark.service("s3")
async def test_wrong_keys_are_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not look is told why, and it is not taken for an empty fleet."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with StorePool(OWN) as pool:
        with pytest.raises(AccessDenied, match="secret key is wrong"):
            await Reader(place_of(bucket), pool).look()


@pytest.mark.service("gcs")
async def test_a_fleet_in_a_bucket_of_googles(google: str) -> None:
    """The same at Google's."""
    check(await told_and_seen(place_of(f"{google}/lab"), StoreOptions()))


@pytest.fixture
def two_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lists come in small pages."""
    for client in (S3Client, MinioClient, GcsClient):
        monkeypatch.setattr(client, "page_size", 2)


@pytest.mark.usefixtures("two_a_page")
@pytest.mark.service("s3")
@pytest.mark.parametrize("own", [True, False], ids=["boto3", "minio"])
async def test_a_long_list_comes_in_pages(
    bucket: str,
    seaweed_server: S3Server,
    seaweed_bucket: str,
    own: bool,  # noqa: FBT001 - a table
) -> None:
    """Every object is listed once, whichever SDK asks."""
    place = place_of(bucket)
    names = {f"fleet/box-{number}.json" for number in range(5)}
    for name in names:
        seaweed_server.put(seaweed_bucket, name, b"{}")
    seaweed_server.put(seaweed_bucket, "fleet/below/box-6.json", b"{}")
    env = {
        "AWS_ACCESS_KEY_ID": keys("admin").access_key,
        "AWS_SECRET_ACCESS_KEY": keys("admin").secret_key.reveal(),
    }
    async with StorePool(StoreOptions(allow_own_credentials=own)) as pool:
        request = place.request({})
        if not own:
            request = type(request)(request.experiment, request.needs, {}, env=env)
        store = await pool.store_for(place.folder, request, queue_broker="local")
        listing = await store.folder(place.folder)
    assert sorted(one.location.key for one in listing.entries) == sorted(names)
    assert listing.now is not None


@pytest.mark.usefixtures("two_a_page")
@pytest.mark.service("gcs")
async def test_google_has_pages_too(google: str, gcs_server: GcsServer, gcs_bucket: str) -> None:
    """Every object is listed once."""
    place = place_of(google)
    async with StorePool(StoreOptions()) as pool:
        store = await pool.store_for(place.folder, place.request({}), queue_broker="local")
        for number in range(5):
            await store.put_if(place.location(f"box-{number}.json"), b"{}", None)
        listing = await store.folder(place.folder)
    assert len(listing.entries) == 5
    assert sorted(gcs_server.keys(gcs_bucket)) == sorted(
        one.location.key for one in listing.entries
    )
