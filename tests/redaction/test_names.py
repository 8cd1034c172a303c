"""What of variables, addresses and documents is secret."""

from __future__ import annotations

import json

import pytest

from runner.redaction.names import is_secret_name, of_address, of_data, of_document, of_variable


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "apiKey", "DB_PASS", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "GITHUBTOKEN"),
        *("PGPASSWORD", "private_key", "private_key_id", "SECRET_TOKEN", "secret", "Authorization"),
        *("AZURE_STORAGE_KEY", "GOOGLE_CREDENTIALS", "MYSQL_PWD", "--api-key", "AWSSecretKey"),
    ],
)
def test_the_names_of_secrets(name: str) -> None:
    """In every way of writing them."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("TOKENIZER", "TOKENIZERS_PARALLELISM", "MAX_TOKENS", "SECRET_FILE", "SORT_KEY", "PWD"),
        *("OLDPWD", "COMPASS", "AWS_ACCESS_KEY_ID", "token_uri", "KEY", "SSH_AUTH_SOCK", "", "1"),
        *("TOKEN_LIMIT", "CUDA_VISIBLE_DEVICES", "KEYBOARD", "PASSENGERS", "OMP_NUM_THREADS"),
    ],
)
def test_the_names_of_other_things(name: str) -> None:
    """Which are much alike."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("HF_TOKEN", "hf_abcdef", {"hf_abcdef"}),
        ("USE_TOKEN", "true", set()),
        ("TOKEN", "1", set()),
        ("TOKEN", "1234567", set()),
        ("PASSWORD", "12345678", {"12345678"}),
        ("AUTH_TOKEN", "disabled", set()),
        ("SOME_SECRET", "completed", set()),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json", set()),
        ("AWS_SECRET_ACCESS_KEY", "/abcdefgh/ijklmnop", {"/abcdefgh/ijklmnop"}),
        ("DATABASE_URL", "postgres://me:p%40ssword@db/x", {"p%40ssword", "p@ssword"}),
        ("HTTPS_PROXY", "http://abcdefghijklmnopqrst@proxy:3128", {"abcdefghijklmnopqrst"}),
        ("DATA", "https://far/x?a=1&X-Amz-Signature=abcdef", {"abcdef"}),
        ("MODEL", "bert-base-uncased", set()),
    ],
)
def test_what_of_a_variable_is_secret(name: str, value: str, secrets: set[str]) -> None:
    """Its value, where that says something; of an address what opens it, whatever the name."""
    assert set(of_variable(name, value)) == secrets


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        (
            "amqp://lab:p%40ss@word/x@host:5672/%2F",
            {"p%40ss", "p@ss", "p%40ss@word/x", "p@ss@word/x"},
        ),
        ("https://host:8080/pa:th/a@b", set()),
        ("https://me@host/x", set()),
        ("no address", set()),
        ("https://host/x?sig=a%2Fbcdef#f", {"a%2Fbcdef", "a/bcdef"}),
    ],
)
def test_what_of_an_address_is_secret(address: str, secrets: set[str]) -> None:
    """Passwords as written and as meant, also those that hold what they should not."""
    assert set(of_address(address)) == secrets | {one for one in of_address(address) if not one}


def test_secret_members_are_found_however_deep() -> None:
    """And what is no document is none."""
    data = {"auths": {"h": {"password": "hunter22"}}, "list": [{"token": "abcdef1"}], "n": 1}
    assert set(of_data(data)) == {"hunter22", "abcdef1"} == set(of_document(json.dumps(data)))
    deep = '{"a":' * 100_000
    assert [*of_document("hunter22"), *of_document("{"), *of_document(deep)] == []
