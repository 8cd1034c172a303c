"""What the options about stores come to, and which mistakes stop the daemon at its start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from runner.app.stores import store_options
from runner.errors import Misconfigured
from runner.settings import Settings
from runner.stores.base import StoreOptions
from tests.servers.certificates import self_signed


def options(*words: str | Path) -> StoreOptions:
    """Return what a command line comes to."""
    return store_options(Settings.load([str(word) for word in words], {}))


def test_every_store_option_is_set_by_its_own() -> None:
    """No field keeps its default although the operator said something else."""
    given = {
        "local_roots": ("--local-store-root", "/store", (Path("/store"),)),
        "allow_file_artifacts": ("--allow-file-artifacts", "true", True),
        "allow_env_secrets": ("--allow-env-secrets", "false", False),
        "allow_own_credentials": ("--allow-own-credentials", "true", True),
        "s3_http_hosts": ("--s3-http-hosts", "*.lan", ("*.lan",)),
        "google_store_credentials": ("--google-store-credentials", __file__, Path(__file__)),
        "http_private_hosts": ("--http-private-hosts", "10.*", ("10.*",)),
    }
    files = {"s3_ca", "s3_cert", "s3_key"}  # with certificates, below
    patience = {"plan"}  # is the program's: people wait for less than daemons
    named = {field.name for field in dataclasses.fields(StoreOptions)}
    assert named == given.keys() | files | patience
    for field, (option, word, value) in given.items():
        assert getattr(options(f"{option}={word}"), field) == value


def test_the_defaults_of_a_daemon_are_those_of_the_stores() -> None:
    """Who makes a store without a daemon gets the same."""
    expected = StoreOptions(local_roots=options().local_roots)
    assert options() == expected


def test_certificates_reach_the_stores(tmp_path: Path) -> None:
    """All three, when they can be used."""
    _, certificate = self_signed(tmp_path)
    key = tmp_path / "server.key"
    made = options("--s3-ca", certificate, "--s3-cert", certificate, "--s3-key", key)
    assert (made.s3_ca, made.s3_cert, made.s3_key) == (certificate, certificate, key)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--s3-cert", "authority.pem"), "--s3-cert is given without --s3-key"),
        (("--s3-key", "server.key"), "--s3-key is given without --s3-cert"),
        (("--s3-ca", "none.pem"), "--s3-ca .*none.pem cannot be read: No such file"),
        (("--s3-ca", "."), "--s3-ca .* cannot be read: Is a directory"),
        (("--s3-ca", "empty.pem"), "--s3-ca .*empty.pem cannot be used"),
        (
            ("--s3-cert", "authority.pem", "--s3-key", "none.key"),
            "--s3-key .*none.key cannot be read",
        ),
        (
            ("--s3-cert", "authority.pem", "--s3-key", "empty.pem"),
            "--s3-cert .* with --s3-key .*empty.pem cannot be used",
        ),
        (
            ("--s3-cert", "authority.pem", "--s3-key", "locked.key"),
            "--s3-cert .* with --s3-key .*locked.key cannot be used",
        ),
        (("--google-store-credentials", "none.json"), "none.json cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    """One sentence names option and file; nobody is asked for a passphrase."""
    self_signed(tmp_path)
    (tmp_path / "empty.pem").touch()
    plain = serialization.load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    (tmp_path / "locked.key").write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    with pytest.raises(Misconfigured, match=sentence):
        options(*(word if word.startswith("-") else tmp_path / word for word in words))
