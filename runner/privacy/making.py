"""New keys, in the files and forms that runners and the StudioML client read (protocol 2.8)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from runner.errors import Misconfigured
from runner.privacy.private_key import PASSPHRASE, PRIVATE, PUBLIC
from runner.privacy.signing import Signer

#: Below the directory that is made: for ``--encrypt-dir``, ``--request-signatures-dir``, senders.
MESSAGE, SIGNING, CLIENT = Path("message"), Path("signing"), Path("client")
SEALING_KEY, SIGNING_KEY = "public.pem", "signing-key"
#: The same for ``--response-signatures-dir``, and for who reads reports.
RESPONSE, RESPONSE_KEY = Path("response"), "response-key"
_BITS, _EXPONENT = 4096, 65537


def generate(queue: str) -> Mapping[Path, bytes]:
    """Return the content of all files of a new set; what is signed by it is for ``queue``*."""
    key = generate_private_key(_EXPONENT, _BITS)
    passphrase = secrets.token_urlsafe(32).encode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    private = key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(passphrase)
    )
    sender = Ed25519PrivateKey.generate()
    line = f"{Signer(sender.public_key()).line}\n".encode()
    return {
        MESSAGE / PUBLIC: public,
        MESSAGE / PRIVATE: private,
        MESSAGE / PASSPHRASE: passphrase,
        SIGNING / queue: line,
        CLIENT / SEALING_KEY: public,
        CLIENT / SIGNING_KEY: sender.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        ),
    }


def generate_for_responses(queue: str) -> Mapping[Path, bytes]:
    """Return the pair that reports about experiments of ``queue``* are sealed for."""
    key = generate_private_key(_EXPONENT, _BITS)
    return {
        RESPONSE / queue: key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        CLIENT / RESPONSE_KEY: key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ),
    }


def sealing_key(path: Path) -> RSAPublicKey:
    """Read the public key of a runner. Raises Misconfigured."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{path} is no readable public key in PEM: {error}") from error
    if not isinstance(key, RSAPublicKey):
        raise Misconfigured(f"{path} is no RSA key: runners open requests that RSA has sealed")
    return key


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key of a sender, in OpenSSH's form or as PKCS#8. Raises Misconfigured."""
    try:
        data = path.read_bytes()
        load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
        key = load(data, None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(
            f"{path} is no private key that can be read without a passphrase: {error}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{path} is no Ed25519 key: make one with ssh-keygen -t ed25519")
    return key
