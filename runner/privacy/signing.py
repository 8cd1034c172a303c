"""Ed25519 signatures over a payload, in both forms that clients write (protocol section 2.9)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from runner.errors import RequestError

_KIND = b"ssh-ed25519"
_LENGTH = 64
_FIELD = "message.signature"


class BadSignature(RequestError):
    """The request was not signed by whom its queue expects."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The public key of one who may send requests to a queue."""

    key: Ed25519PublicKey

    @classmethod
    def of_line(cls, text: str) -> Signer:
        """Read a line as in ``authorized_keys``. Raises ValueError."""
        words = text.split()
        if words[:1] != [_KIND.decode()] or len(words) < 2:  # noqa: PLR2004 - kind and key
            raise ValueError(f"it does not begin with {_KIND.decode()!r} and a key")
        try:
            kind, key = _strings(base64.b64decode(words[1], validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("its key is damaged") from None
        if kind != _KIND:
            raise ValueError(f"its key is of another kind: {kind!r}")
        return cls(Ed25519PublicKey.from_public_bytes(key))

    @property
    def line(self) -> str:
        """The key as ``authorized_keys`` has it."""
        return f"{_KIND.decode()} {base64.b64encode(self._wire).decode('ascii')}"

    @property
    def fingerprint(self) -> str:
        """What ``ssh-keygen -l`` shows: ``SHA256:`` and a digest without padding."""
        digest = base64.b64encode(hashlib.sha256(self._wire).digest()).decode("ascii")
        return f"SHA256:{digest.rstrip('=')}"

    def check(self, payload: str, signature: str) -> None:
        """Raise BadSignature unless the owner of the key has signed just this payload."""
        try:
            self.key.verify(_bare(signature), payload.encode("utf-8", "surrogatepass"))
        except InvalidSignature:
            raise BadSignature(
                f"{_FIELD} is not that of {self.fingerprint} over this payload: sign it with the "
                "key that the runner knows for the queue"
            ) from None

    @property
    def _wire(self) -> bytes:
        return _string(_KIND) + _string(self.key.public_bytes_raw())


def sign(payload: str, key: Ed25519PrivateKey) -> str:
    """Sign as the StudioML client does: the bare signature in base64."""
    return base64.b64encode(key.sign(payload.encode())).decode("ascii")


def _bare(signature: str) -> bytes:
    """Return the signature's 64 bytes out of SSH's blob, or as they are."""
    try:
        data = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature(f"{_FIELD} is not base64") from None
    try:
        kind, bare = _strings(data)
    except ValueError:
        kind, bare = _KIND, data
    if kind != _KIND or len(bare) != _LENGTH:
        raise BadSignature(f"{_FIELD} is no Ed25519 signature: it has {len(data)} bytes")
    return bare


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes) -> tuple[bytes, bytes]:
    """Read the two strings of SSH's wire form. Raises ValueError."""
    found = []
    while data:
        if len(data) < 4:  # noqa: PLR2004 - a length
            raise ValueError("cut short")
        (length,) = struct.unpack(">I", data[:4])
        if length > len(data) - 4:
            raise ValueError("cut short")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    kind, value = found if len(found) == 2 else (b"", b"")  # noqa: PLR2004 - kind and value
    if not kind:
        raise ValueError("not two strings")
    return kind, value
