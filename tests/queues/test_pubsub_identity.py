"""As whom Google is asked: a key in memory, the machine's own identity, or an emulator's nobody."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from runner.errors import QueueDenied
from runner.model import Bytes
from runner.queues.base import BrokerOptions
from runner.queues.choice import Choice
from runner.queues.credential import GoogleCredential
from runner.queues.drawer import Drawer
from runner.queues.pubsub import PubsubBroker
from runner.queues.pubsub.identity import Identity
from runner.redaction import Secret
from tests.queues.pubsub_case import NAME, Project
from tests.servers.pubsub import FakeServer, start_engine

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """Have grpc's own thread before the first look for leaks."""
    start_engine()


@pytest.fixture(autouse=True)
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on no machine of Google's."""
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def credential(key: str = "") -> GoogleCredential:
    """Return a credential for the real service."""
    return GoogleCredential(
        broker="pubsub", scope="lab", origin="lab/key.json", fingerprint="1", key=Secret(key)
    )


def options(directory: Path) -> BrokerOptions:
    """Return a broker's options."""
    second = timedelta(seconds=1)
    drawer = Drawer(directory / "dead", Bytes(1000))
    return BrokerOptions("a test", Choice(), second, second, second, drawer)


async def test_a_key_is_used_from_memory() -> None:
    """No file is needed, and no other server: the token is signed here."""
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = {
        "type": "service_account",
        "client_email": "runner@lab.iam.gserviceaccount.com",
        "token_uri": "https://127.0.0.1:1/token",
        "private_key": pem.decode(),
    }
    channel = await Identity(credential(json.dumps(key))).channel()
    await channel.close()


@pytest.mark.parametrize(
    "key",
    [
        "topsecret",
        '"topsecret"',
        '{"private_key": "topsecret"}',
        '{"client_email": "a", "token_uri": "b", "private_key": "topsecret"}',
    ],
)
async def test_a_broken_key_is_said_without_showing_it(key: str, tmp_path: Path) -> None:
    """The sentence names the file and quotes nothing of it, nor does what caused it."""
    async with PubsubBroker(credential(key), options(tmp_path)) as broker:
        with pytest.raises(QueueDenied, match=r"lab/key.json is no key of a service") as caught:
            await broker.exists(NAME)
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_machine_without_an_identity_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the operator allowed the machine's own identity and there is none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    async with PubsubBroker(credential(), options(tmp_path)) as broker:
        with pytest.raises(QueueDenied, match="own Google identity, and it has none"):
            await broker.exists(NAME)


async def test_the_emulators_variable_is_honoured(
    pubsub_fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Google's own libraries; no key is sent there."""
    project = Project(pubsub_fake, tmp_path, "lab")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_fake.address)
    await project.create()
    async with PubsubBroker(credential("no key at all"), options(tmp_path)) as broker:
        assert await broker.exists(NAME)
    await project.delete()
