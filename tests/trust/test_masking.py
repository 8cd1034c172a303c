"""The secrets of a credential are masked, and what people need to know of it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.app.masking import mask, redactor_of
from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Redactor, Secret
from runner.settings import Settings

_PEM = "-----BEGIN PRIVATE KEY-----\nbGluZS1vbmU\nbGluZS10d28\n-----END PRIVATE KEY-----\n"
_COMMON: dict[str, Any] = {"scope": "scope", "origin": "lab", "fingerprint": "f"}
KEY = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "0123456789abcdef0123",
    "private_key": _PEM,
    "client_email": "runner@my-project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
CASES = {
    "google": (
        GoogleCredential(broker="pubsub", key=Secret(json.dumps(KEY)), **_COMMON),
        ("bGluZS1vbmU", "bGluZS10d28", KEY["private_key_id"], json.dumps(KEY["private_key"])),
        (KEY["client_email"], KEY["token_uri"], KEY["project_id"]),
    ),
    "aws": (
        AwsCredential(
            broker="sqs",
            region="us-west-2",
            access_key="the-key-id",
            secret_key=Secret("the/secret+key"),
            session_token=Secret("the-session-token"),
            profile={"role_arn": "arn:aws:iam::1:role/x", "external_id": "between-us-two"},
            **_COMMON,
        ),
        ("the/secret+key", "the%2Fsecret%2Bkey", "the-session-token", "between-us-two"),
        ("the-key-id", "us-west-2", "arn:aws:iam::1:role/x"),
    ),
    "rabbitmq": (
        AmqpCredential(
            broker="rabbitmq",
            url=Secret("amqp://lab:p%40ssw%2Ford@broker:5672/%2F"),
            management_url=Secret("http://admin:0ther-word@broker:15672"),
            **_COMMON,
        ),
        ("p%40ssw%2Ford", "p@ssw/ord", "0ther-word"),
        ("broker:5672", "lab"),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_credentials_secrets_are_masked(kind: str) -> None:
    """As they are written and as they are meant; hosts, accounts and regions stay readable."""
    credential, secrets, public = CASES[kind]
    redactor = Redactor()
    mask(redactor, credential)
    for secret in secrets:
        assert secret not in redactor.redact(f"it is '{secret}', said the SDK")
    for word in public:
        assert word in redactor.redact(f"it is '{word}', said the SDK")


@pytest.mark.parametrize("key", ["", "no json at all", "[]"])
def test_a_key_that_is_none_is_no_trouble(key: str) -> None:
    """The machine's own identity has no key; a damaged one is masked whole."""
    credential: Credential = GoogleCredential(broker="pubsub", key=Secret(key), **_COMMON)
    redactor = Redactor()
    mask(redactor, credential)
    if len(key) > len("secret"):
        assert key not in redactor.redact(f"'{key}'")


def test_secrets_of_options_and_of_our_own_variables_are_masked(tmp_path: Path) -> None:
    """Also parts of addresses that libraries show apart, and passwords of package indexes."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps(KEY))
    words = ["--index-url", "https://me:of-the-index@host/simple", "--find-links", "/wheels"]
    words += ["--slack-hook", "https://host/services/T0/B0/hook-nobody-knows"]
    words += ["--google-store-credentials", str(key)]
    environ = {"HOME": str(tmp_path), "LAB_TOKEN": "of-our-variables"}
    environ["ALL_PROXY"] = "http://u:of-proxy@h"
    redactor = redactor_of(Settings.load(words, environ), environ)
    secrets = ("of-the-index", "hook-nobody-knows", "of-our-variables", "of-proxy", "bGluZS1vbmU")
    for secret in secrets:
        assert redactor.redact(f"it is {secret}.") == "it is ***."
    for public in ("host/simple", "/wheels", "my-project"):
        assert redactor.redact(public) == public
