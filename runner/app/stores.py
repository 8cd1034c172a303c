"""What the settings say about stores, looked at before the first message needs it."""

from __future__ import annotations

from pathlib import Path

from runner.errors import Misconfigured
from runner.lifecycle.sources.supply import Supply
from runner.queues.credential import GoogleCredential
from runner.settings import Settings
from runner.stores.base import StoreOptions


def store_options(settings: Settings) -> StoreOptions:
    """Return the options of all stores. Raises Misconfigured for files that cannot be used."""
    _check_tls(settings)
    key_file = settings.google_store_credentials
    if key_file is not None:
        _check_readable("--google-store-credentials", key_file)
    return StoreOptions(
        local_roots=settings.local_store_root,
        allow_file_artifacts=settings.allow_file_artifacts,
        allow_env_secrets=settings.allow_env_secrets,
        allow_own_credentials=settings.allow_own_credentials,
        s3_ca=settings.s3_ca,
        s3_cert=settings.s3_cert,
        s3_key=settings.s3_key,
        s3_http_hosts=settings.s3_http_hosts,
        google_store_credentials=key_file,
        http_private_hosts=settings.http_private_hosts,
    )


def key_file(supply: Supply, account: tuple[str, str]) -> Path | None:
    """Return the key that came with the messages of a queue: what they name at Google is read so.

    ``account``: registry name and project of the broker.
    """
    source = supply.find(account)
    credential = source.credential if source else None
    return credential.key_file if isinstance(credential, GoogleCredential) else None


def _check_tls(settings: Settings) -> None:
    ca, certificate, key = settings.s3_ca, settings.s3_cert, settings.s3_key
    if (certificate is None) != (key is None):
        given, missing = ("--s3-key", "--s3-cert") if key else ("--s3-cert", "--s3-key")
        raise Misconfigured(f"{given} is given without {missing}: give both, or neither")
    for option, path in (("--s3-ca", ca), ("--s3-cert", certificate), ("--s3-key", key)):
        if path is not None:
            _check_readable(option, path)
    if ca or certificate:
        from runner.stores.remote import wires  # noqa: PLC0415 - slow to import, seldom needed

        wires.tls(ca, certificate, key)


def _check_readable(option: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise Misconfigured(f"{option} {path} cannot be read: {error.strerror}") from error
