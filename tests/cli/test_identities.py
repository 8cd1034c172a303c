"""What opens a queue that somebody named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.client.identities import opening
from runner.errors import Misconfigured
from runner.queues.addresses import parse
from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Secret


def aws(name: str, region: str = "eu-west-1") -> AwsCredential:
    """Return a configured profile."""
    return AwsCredential(
        broker="sqs",
        scope=f"aws_{name}",
        origin=f"aws/{name}",
        fingerprint=name,
        region=region,
        queues=("sqs_other",),
    )


RABBIT = AmqpCredential(
    broker="rabbitmq",
    scope="amqp://h:5672/v",
    origin="--amqp-url",
    fingerprint="1",
    url=Secret("amqp://u:hunter22@h/v"),
)


def test_a_local_queue_needs_nothing() -> None:
    """No credential is looked for."""
    assert opening(parse("local_x"), [RABBIT], {}) is None


def test_a_configured_credential_is_used_and_told_of_the_queue() -> None:
    """Then it needs no right to list; other queues that are named beside it do not matter."""
    found = opening(parse("sqs://eu-west-1/sqs_x"), [RABBIT, aws("a")], {})
    assert isinstance(found, AwsCredential)
    assert (found.scope, found.queues) == ("aws_a", ("sqs://eu-west-1/sqs_x",))
    assert opening(parse("rabbitmq://x"), [RABBIT, aws("a")], {}) is not None


def test_of_several_one_has_to_be_named() -> None:
    """By its directory, its origin or its account; the error lists them."""
    both: list[Credential] = [aws("a"), aws("b")]
    with pytest.raises(Misconfigured, match=r"aws/a, aws/b: say with which one, --credential"):
        opening(parse("sqs://x"), both, {})
    for wanted in ("b", "aws/b", "aws_b"):
        found = opening(parse("sqs://x"), both, {}, wanted=wanted)
        assert found is not None
        assert found.scope == "aws_b"
    with pytest.raises(Misconfigured, match=r"--credential 'c' is none .*aws/a, aws/b"):
        opening(parse("sqs://x"), both, {}, wanted="c")
    with pytest.raises(Misconfigured, match=r"configured \(none\)"):
        opening(parse("sqs://x"), [], {"AWS_REGION": "r"}, wanted="c")


def test_the_address_of_a_broker_opens_itself() -> None:
    """User and password in it win over what is configured; without, the broker's guest is tried."""
    found = opening(parse("amqp://me:hunter23@h/v?q"), [RABBIT], {})
    assert isinstance(found, AmqpCredential)
    assert found.url.reveal() == "amqp://me:hunter23@h/v"
    assert opening(parse("amqp://h/v?q"), [RABBIT], {}) != found
    unknown = opening(parse("amqp://other/v?q"), [RABBIT], {})
    assert isinstance(unknown, AmqpCredential)
    assert unknown.url.reveal() == "amqp://other:5672/v"
    with pytest.raises(Misconfigured, match="names no server and none is configured"):
        opening(parse("rabbitmq://q"), [], {})


def test_amazon_is_opened_with_the_environments_identity() -> None:
    """Keys and endpoint of the environment, the SDK's own where there are none."""
    environ = {
        "AWS_REGION": "eu-north-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    found = opening(parse("sqs://q"), [aws("a", "us-east-1")][:0], environ)
    assert isinstance(found, AwsCredential)
    assert (found.region, found.access_key) == ("eu-north-1", "key")
    assert (found.secret_key, found.session_token) == (Secret("secret"), Secret("token"))
    assert found.endpoint == "http://127.0.0.1:1"

    bare = opening(parse("sqs://eu-west-1/q"), [aws("a", "us-east-1")], {})
    assert isinstance(bare, AwsCredential)
    assert (bare.region, bare.access_key, bool(bare.secret_key)) == ("eu-west-1", "", False)
    elsewhere = opening(parse("http://127.0.0.1:2/123456789012/q"), [], {})
    assert isinstance(elsewhere, AwsCredential)
    assert elsewhere.endpoint == "http://127.0.0.1:2"
    with pytest.raises(Misconfigured, match=r"names no region: .*AWS_REGION"):
        opening(parse("sqs://q"), [], {})


def test_google_is_opened_with_the_environments_identity(tmp_path: Path) -> None:
    """The key that the environment names, the project that anybody names, an emulator."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "project_id": "of-the-key"}))
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    found = opening(parse("pubsub://n_sub"), [], environ)
    assert isinstance(found, GoogleCredential)
    assert (found.project, found.key) == ("of-the-key", Secret(key.read_text()))

    environ = {"GOOGLE_CLOUD_PROJECT": "mine", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    found = opening(parse("pubsub://n_sub"), [], environ)
    assert isinstance(found, GoogleCredential)
    assert (found.project, found.emulator, bool(found.key)) == ("mine", "127.0.0.1:1", False)
    other = opening(parse("pubsub://other/n_sub"), [], environ)
    assert isinstance(other, GoogleCredential)
    assert other.project == "other"
    with pytest.raises(Misconfigured, match=r"names no project: .*GOOGLE_CLOUD_PROJECT"):
        opening(parse("pubsub://n_sub"), [], {})


def test_a_key_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """Missing, or not Google's; another kind of Google's own is the library's to read."""
    address = parse("pubsub://p-1/n_sub")
    path = tmp_path / "key.json"
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}
    with pytest.raises(Misconfigured, match=r"which cannot be used: No such file"):
        opening(address, [], environ)
    for text in ("topsecret", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(Misconfigured, match="it is no credential of Google's") as caught:
            opening(address, [], environ)
        assert caught.value.__suppress_context__
    path.write_text('{"type": "external_account"}')
    found = opening(address, [], environ)
    assert isinstance(found, GoogleCredential)
    assert not found.key
