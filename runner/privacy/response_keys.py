"""The keys of response queues: a public one seals reports, its owner's private one opens them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from runner.errors import Misconfigured

_KINDS = ("-----BEGIN RSA PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----")
_SSH = b"OPENSSH PRIVATE KEY"


def public_key(text: str) -> RSAPublicKey:
    """Read a key file's content (protocol section 2.10). Raises ValueError."""
    if not text.startswith(_KINDS):
        raise ValueError(f"it is no PEM that begins with {_KINDS[0]}")
    key = load_pem_public_key(text.encode())
    if not isinstance(key, RSAPublicKey):
        raise ValueError("it is no RSA key")  # noqa: TRY004 - its content is wrong, not a type
    return key


def private_key(path: Path, passphrase: bytes | None) -> RSAPrivateKey:
    """Read the key that opens reports: PEM or OpenSSH's form. Raises Misconfigured."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"the key {path} cannot be read: {error.strerror}") from error
    load = load_ssh_private_key if _SSH in data else load_pem_private_key
    try:
        key = load(data, passphrase)
    except TypeError as error:  # it has a passphrase and got none, or the other way round
        need = "has no passphrase" if passphrase else "has a passphrase: name its file"
        raise Misconfigured(f"the key {path} {need} with --passphrase-file") from error
    except ValueError as error:
        why = "the passphrase does not open it, or it is damaged" if passphrase else str(error)
        raise Misconfigured(f"{path} is no readable private key: {why}") from error
    if not isinstance(key, RSAPrivateKey):
        raise Misconfigured(f"{path} is no RSA key: reports are sealed for RSA keys")
    return key
