"""The sealed form of a request: a key for one message, wrapped by RSA, and what it locks.

``base64(RSA-OAEP(key)) + "," + base64(nonce + tag + ciphertext)``: OAEP with SHA-256 for hash and
mask and an empty label; XSalsa20-Poly1305 as NaCl's secretbox has it (protocol section 2.7).
"""

from __future__ import annotations

import base64
import binascii
import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from runner.errors import RequestError

_FIELD = "message.payload"


class BadSeal(RequestError):
    """The request is sealed, and this runner's key does not open it."""


def seal(request: bytes, key: RSAPublicKey) -> str:
    """Lock a request so that only the owner of ``key`` reads it."""
    secret = secrets.token_bytes(SecretBox.KEY_SIZE)
    locked = bytes(SecretBox(secret).encrypt(request))
    wrapped = key.encrypt(secret, _oaep())
    return ",".join(base64.b64encode(part).decode("ascii") for part in (wrapped, locked))


def unseal(payload: str, key: RSAPrivateKey) -> bytes:
    """Return the request. Raises BadSeal, saying which of its parts is wrong."""
    wrapped, locked = _parts(payload)
    try:
        secret = key.decrypt(wrapped, _oaep())
    except ValueError:
        raise BadSeal(
            f"{_FIELD} is sealed for another key than this runner's, or damaged: seal it with "
            "the runner's public key of today"
        ) from None
    if len(secret) < SecretBox.KEY_SIZE or len(locked) < SecretBox.NONCE_SIZE + SecretBox.MACBYTES:
        raise BadSeal(f"{_FIELD} is too short for a sealed request")
    try:
        return bytes(SecretBox(secret[: SecretBox.KEY_SIZE]).decrypt(locked))
    except CryptoError:
        raise BadSeal(f"{_FIELD} is damaged: its second part does not fit the first") from None


def _parts(payload: str) -> tuple[bytes, bytes]:
    parts = payload.split(",")
    if len(parts) != 2:  # noqa: PLR2004 - the key and the data
        raise BadSeal(f"{_FIELD} has {len(parts)} parts: a key, a comma and the data are needed")
    names = ("key", "data")
    return _decoded(parts[0], names[0]), _decoded(parts[1], names[1])


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSeal(f"{_FIELD}: its {name} is not base64") from None


def _oaep() -> padding.OAEP:
    algorithm = hashes.SHA256()
    return padding.OAEP(padding.MGF1(algorithm), algorithm, label=None)
