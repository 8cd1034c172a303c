"""Stores are asked for what is not there, and written to only where somebody consents."""

from __future__ import annotations

import pytest

from runner.doctor import stores
from runner.doctor.check import Verdict
from runner.doctor.patient import Bucket
from runner.model import Credentials, StoreConfig
from tests.doctor.conftest import Clinic
from tests.servers.s3 import S3Server
from tests.servers.seaweed import ALICE, READER

pytestmark = pytest.mark.anyio


def bucket(server: S3Server, name: str, keys: Credentials) -> Bucket:
    """Name a bucket as the command line does."""
    config = StoreConfig("s3", server.endpoint, name, keys)
    return Bucket(f"s3://{server.host}/{name}", "s3", server.host, name, config)


async def test_a_directory_is_looked_at_and_written_to_on_consent(clinic: Clinic) -> None:
    """Nothing stays in it, and one that is not there is not made."""
    found = await clinic.look(stores.look, await clinic.patient(may_write=True))
    assert found.verdicts == [Verdict.OK]
    store = clinic.root / "store"
    assert not store.exists()
    store.mkdir()
    found = await clinic.look(stores.look, await clinic.patient())
    assert "may write" in found.findings[0].sentence
    found = await clinic.look(stores.look, await clinic.patient(may_write=True))
    assert "refused to a second writer" in found.findings[0].sentence
    assert list(store.iterdir()) == []


async def test_a_store_that_is_not_there_fails(clinic: Clinic) -> None:
    """By its name, with the reason."""
    nowhere = bucket(S3Server(1), "some-bucket", ALICE)
    found = await clinic.look(stores.look, await clinic.patient(buckets=(nowhere,)))
    told = found.about("some-bucket")
    assert told.verdict is Verdict.FAILED
    assert "cannot be reached" in told.sentence


@pytest.mark.service("s3")
async def test_a_bucket_is_read_and_on_consent_written(
    clinic: Clinic, seaweed_server: S3Server, alice_bucket: str
) -> None:
    """With the conditional write that claims need; nothing stays."""
    ours = bucket(seaweed_server, alice_bucket, ALICE)
    found = await clinic.look(stores.look, await clinic.patient(buckets=(ours,)))
    assert found.about(alice_bucket).verdict is Verdict.OK
    patient = await clinic.patient(buckets=(ours,), may_write=True)
    found = await clinic.look(stores.look, patient)
    assert "refused to a second writer" in found.about(alice_bucket).sentence
    assert seaweed_server.keys(alice_bucket) == []


@pytest.mark.service("s3")
async def test_the_right_that_is_missing_is_named(
    clinic: Clinic, seaweed_server: S3Server, alice_bucket: str
) -> None:
    """A key that may only read, a wrong one, and a bucket that is not there."""
    ours = bucket(seaweed_server, alice_bucket, READER)
    patient = await clinic.patient(buckets=(ours,), may_write=True)
    told = (await clinic.look(stores.look, patient)).about(alice_bucket)
    assert told.verdict is Verdict.FAILED
    assert "s3:PutObject" in told.sentence
    missing = bucket(seaweed_server, "alice-missing", ALICE)
    found = await clinic.look(stores.look, await clinic.patient(buckets=(missing,)))
    told = found.about("alice-missing")
    assert told.verdict is Verdict.FAILED
    assert "bucket" in told.sentence


async def test_a_key_without_a_bucket_is_not_tried(clinic: Clinic) -> None:
    """And it is said how it could be."""
    key = clinic.root / "key.json"
    key.write_text("{}")
    argv = ("--google-store-credentials", str(key), "--allow-own-credentials")
    found = await clinic.look(stores.look, await clinic.patient(*argv))
    assert found.about("--google-store-credentials").verdict is Verdict.FAILED
    key.write_text('{"type": "service_account"}')
    found = await clinic.look(stores.look, await clinic.patient(*argv))
    assert found.about("--google-store-credentials").remedy.endswith("gs://BUCKET")
    assert found.about("--allow-own-credentials").verdict is Verdict.SKIPPED
