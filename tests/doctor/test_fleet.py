"""The store of the fleet is asked as the daemon opens it, and written to only on consent."""

from __future__ import annotations

import os

import pytest

from runner.doctor import configuration, fleet
from runner.doctor.check import Finding, Verdict
from runner.doctor.patient import Patient
from tests.doctor.conftest import Clinic
from tests.servers.s3 import S3Server, keys

pytestmark = pytest.mark.anyio


async def seen(clinic: Clinic, patient: Patient) -> Finding:
    """Return the one finding."""
    (found,) = (await clinic.look(fleet.look, patient)).findings
    return found


async def patient(clinic: Clinic, store: str, *, may_write: bool = False) -> Patient:
    """Return a daemon that tells of itself there."""
    return await clinic.patient("--fleet-store", store, may_write=may_write)


async def test_without_a_fleet_nothing_is_looked_at(clinic: Clinic) -> None:
    """Most runners tell nobody."""
    assert (await seen(clinic, await clinic.patient())).verdict is Verdict.SKIPPED


async def test_an_address_that_is_none_is_told_once(clinic: Clinic) -> None:
    """Among the settings: the daemon does not start with it."""
    wrong = await patient(clinic, "http://somewhere/fleet")
    assert (await seen(clinic, wrong)).verdict is Verdict.SKIPPED
    told = (await clinic.look(configuration.look, wrong)).saying("--fleet-store is")
    assert told.verdict is Verdict.FAILED


async def test_a_directory_is_asked_and_on_consent_written_to(clinic: Clinic) -> None:
    """One that is not there fails: nothing makes it. No object stays."""
    root = clinic.root / "lab"
    missing = await seen(clinic, await patient(clinic, f"file://{root}"))
    assert (missing.verdict, missing.about) == (Verdict.FAILED, f"--fleet-store file://{root}")
    root.mkdir()
    found = await seen(clinic, await patient(clinic, f"file://{root}"))
    assert (found.verdict, list(root.iterdir())) == (Verdict.OK, [])
    written = await seen(clinic, await patient(clinic, f"file://{root}", may_write=True))
    assert (written.verdict, written.sentence) == (Verdict.OK, "written, overwritten and removed")
    assert list((root / "fleet").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_is_closed_fails(clinic: Clinic) -> None:
    """Without a try to write."""
    root = clinic.root / "lab"
    root.mkdir(mode=0o500)
    found = await seen(clinic, await patient(clinic, f"file://{root}"))
    assert (found.verdict, "may not write" in found.sentence) == (Verdict.FAILED, True)


@pytest.fixture
def bucket(seaweed_server: S3Server, alice_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a bucket that the environment's keys open."""
    identify(monkeypatch, "alice")
    return f"s3://{seaweed_server.host}/{alice_bucket}"


def identify(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Be somebody of the server's."""
    own = keys(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", own.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own.secret_key.reveal())
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.service("s3")
async def test_a_bucket_is_asked_and_on_consent_written_to(
    clinic: Clinic, bucket: str, seaweed_server: S3Server, alice_bucket: str
) -> None:
    """With the daemon's own identity, below the prefix; nothing stays."""
    store = f"{bucket}/lab"
    found = await seen(clinic, await patient(clinic, store))
    assert (found.verdict, found.about) == (Verdict.OK, f"--fleet-store {store}/fleet")
    assert seaweed_server.keys(alice_bucket) == []
    written = await seen(clinic, await patient(clinic, store, may_write=True))
    assert (written.verdict, written.sentence) == (Verdict.OK, "written, overwritten and removed")
    assert seaweed_server.keys(alice_bucket) == []


@pytest.mark.service("s3")
async def test_the_least_right_is_named(
    clinic: Clinic,
    bucket: str,
    seaweed_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who may only read is told what a daemon needs; so is who names a bucket that is not there."""
    missing = await seen(clinic, await patient(clinic, f"s3://{seaweed_server.host}/alice-gone"))
    assert (missing.verdict, "bucket" in missing.remedy) == (Verdict.FAILED, True)
    identify(monkeypatch, "reader")
    refused = await seen(clinic, await patient(clinic, f"{bucket}/lab", may_write=True))
    assert refused.verdict is Verdict.FAILED
    assert "may not write: s3:PutObject" in refused.sentence
    name = bucket.rpartition("/")[2]
    assert f"s3:PutObject on arn:aws:s3:::{name}/lab/fleet/*" in refused.remedy
    assert "docs/permissions.md" in refused.remedy


async def test_a_store_that_is_away_fails_at_once(clinic: Clinic) -> None:
    """Before the SDK would ask again and again."""
    found = await seen(clinic, await patient(clinic, "s3://127.0.0.1:1/bucket"))
    assert (found.verdict, "cannot be reached" in found.sentence) == (Verdict.FAILED, True)
