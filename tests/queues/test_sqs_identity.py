"""Who the SQS broker is at AWS: keys, a role, or what this machine has of its own."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from runner.errors import QueueDenied, QueueUnavailable
from runner.queues.credential import AwsCredential
from runner.redaction import Secret
from tests.queues.sqs_case import sqs_broker
from tests.servers.canned_sqs import canned_sqs
from tests.servers.moto_sqs import Sqs, credential
from tests.servers.s3 import S3Server
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio

ROLE = "arn:aws:iam::210987654321:role/runner"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no identity: neither variables nor files nor an instance's metadata."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def ambient(endpoint: str, **other: Any) -> AwsCredential:
    """Return a credential without keys."""
    return credential(endpoint, access_key="", secret_key=Secret(), **other)


async def test_without_keys_the_machines_own_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual chain: variables, files, container, instance."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEMACHINE0001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    signed: list[str] = []

    def answer(asked: Asked) -> Reply:
        signed.append(asked.headers["Authorization"])
        return Reply(200, {}, b"{}")

    with WebServer(answer).serving() as server:
        async with sqs_broker(ambient(server.url), tmp_path) as broker:
            assert await anext(broker.discover()) == frozenset()
    assert "AKIAOFTHEMACHINE0001" in signed[0]


async def test_the_machines_own_keys_are_never_mixed_with_a_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its variables nor its default profile touch a credential that has keys."""
    profile = tmp_path / "config"
    profile.write_text("[default]\nregion = eu-central-1\nendpoint_url = http://127.0.0.1:1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEMACHINE0001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    signed: list[str] = []

    def answer(asked: Asked) -> Reply:
        signed.append(asked.headers["Authorization"])
        return Reply(200, {}, b"{}")

    with WebServer(answer).serving() as server:
        async with sqs_broker(credential(server.url), tmp_path) as broker:
            await anext(broker.discover())
    assert "AKIATESTTESTTEST0001" in signed[0]
    assert "us-west-2" in signed[0]


async def test_a_machine_without_identity_says_so(tmp_path: Path) -> None:
    """The option for ambient identity on a machine that has none is the operator's mistake."""
    with canned_sqs() as sqs:
        async with sqs_broker(ambient(sqs.url), tmp_path) as broker:
            with pytest.raises(QueueDenied, match="no AWS identity"):
                await anext(broker.discover())
        assert not sqs.asked


async def test_an_identity_that_comes_late_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At boot the daemon may be there before the metadata service; nobody restarts it for that."""
    with WebServer(lambda _: Reply(200, {}, b"{}")).serving() as server:
        async with sqs_broker(ambient(server.url), tmp_path) as broker:
            with pytest.raises(QueueDenied, match="no AWS identity"):
                await anext(broker.discover())
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEMACHINE0001")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
            assert await anext(broker.discover()) == frozenset()


@pytest.mark.service("sqs")
@pytest.mark.parametrize("form", ["keys", "token"])
async def test_a_role_is_assumed(moto_server: S3Server, tmp_path: Path, form: str) -> None:
    """By the profile's keys, or by a pod's token: the role's account is the one that is used."""
    file = tmp_path / "token"
    file.write_text("header.payload.signature")
    profile = {"role_arn": ROLE, "role_session_name": "a-machine", "duration_seconds": "900"}
    if form == "token":
        own = ambient(
            moto_server.endpoint, profile={**profile, "web_identity_token_file": str(file)}
        )
    else:
        own = credential(moto_server.endpoint, profile=profile)
    name = f"sqs_{uuid.uuid4().hex[:12]}"
    async with sqs_broker(own, tmp_path) as broker:
        queue = await broker.open(name)
        await queue.publish(b"{}")
        delivery = await queue.receive()
        assert queue.address.endswith(f"/210987654321/{name}")
        await delivery.ack()
    urls = Sqs(moto_server.endpoint).ask("list_queues").get("QueueUrls", [])
    assert not [url for url in urls if url.endswith(name)]


async def test_a_role_that_may_not_be_assumed_says_so(tmp_path: Path) -> None:
    """The sentence is about the role, not about a right of SQS."""
    refusal = (
        b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
        b"<Type>Sender</Type><Code>AccessDenied</Code><Message>x is not authorized to perform: "
        b"sts:AssumeRole</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
    with WebServer(lambda _: Reply(403, {"Content-Type": "text/xml"}, refusal)).serving() as server:
        own = credential(server.url, profile={"role_arn": ROLE})
        async with sqs_broker(own, tmp_path) as broker:
            with pytest.raises(QueueDenied) as caught:
                await anext(broker.discover())
    assert "sts:AssumeRole is refused" in str(caught.value)
    assert "trust policy" in str(caught.value)


def assuming(endpoint: str, file: Path) -> AwsCredential:
    """Return a pod's identity, whose token lies in ``file``."""
    return ambient(endpoint, profile={"role_arn": ROLE, "web_identity_token_file": str(file)})


async def test_a_token_service_that_is_busy_refuses_nobody(tmp_path: Path) -> None:
    """A machine full of pods asks it all at once: that is no matter of a trust policy."""
    busy = (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code>"
        b"<Message>Rate exceeded</Message></Error></ErrorResponse>"
    )
    with WebServer(lambda _: Reply(400, {"Content-Type": "text/xml"}, busy)).serving() as server:
        own = credential(server.url, profile={"role_arn": ROLE})
        async with sqs_broker(own, tmp_path) as broker:
            with pytest.raises(QueueUnavailable, match="Rate exceeded") as caught:
                await anext(broker.discover())
    assert not isinstance(caught.value, QueueDenied)


async def test_a_pods_token_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    """The kubelet writes it anew every hour, and mounts it late."""
    with canned_sqs() as sqs:
        async with sqs_broker(assuming(sqs.url, tmp_path / "token"), tmp_path) as broker:
            with pytest.raises(QueueUnavailable, match=r"certs/aws/test: .*token"):
                await anext(broker.discover())


async def test_keys_that_are_over_before_they_come_are_a_matter_of_the_clock(
    tmp_path: Path,
) -> None:
    """The SDK says so in an exception of no kind of its own."""
    file = tmp_path / "token"
    file.write_text("header.payload.signature")
    keys = (
        b"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
        b"<AccessKeyId>AKIATESTTESTTEST0002</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        b"<SessionToken>t</SessionToken><Expiration>2020-01-01T00:00:00Z</Expiration>"
        b"</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
    with WebServer(lambda _: Reply(200, {"Content-Type": "text/xml"}, keys)).serving() as server:
        async with sqs_broker(assuming(server.url, file), tmp_path) as broker:
            with pytest.raises(QueueDenied, match="clock"):
                await anext(broker.discover())


@pytest.mark.parametrize("body", [b"<html>Welcome to the hotel</html>", b"[]", b'{"QueueUrl": 7}'])
async def test_an_answer_that_is_none_of_sqs_is_an_outage(tmp_path: Path, body: bytes) -> None:
    """A portal that answers for everybody kills no daemon."""
    with WebServer(lambda _: Reply(200, {}, body)).serving() as server:
        async with sqs_broker(credential(server.url), tmp_path) as broker:
            with pytest.raises(QueueUnavailable):
                await (await broker.open("sqs_a")).take()
