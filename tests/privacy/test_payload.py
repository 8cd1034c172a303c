"""Sealing and unsealing, and what is said of what cannot be unsealed."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from runner.privacy.payload import BadSeal, seal, unseal

#: Half the length that is usual, for tests are many.
_KEY = generate_private_key(65537, 2048)
_OTHER = generate_private_key(65537, 2048)


@given(st.binary(max_size=4096))
def test_what_was_sealed_is_unsealed(request_: bytes) -> None:
    """Whatever the bytes are."""
    assert unseal(seal(request_, _KEY.public_key()), _KEY) == request_


def test_the_form_is_the_protocols() -> None:
    """Two parts in base64: as long as the key, and 24 + 16 bytes more than the request."""
    wrapped, locked = (base64.b64decode(p) for p in seal(b"{}", _KEY.public_key()).split(","))
    assert (len(wrapped), len(locked)) == (256, 24 + 16 + 2)


def test_nothing_is_sealed_alike_twice() -> None:
    """Key and nonce are new for each message."""
    assert seal(b"{}", _KEY.public_key()) != seal(b"{}", _KEY.public_key())


def _with(part: int, change: Callable[[bytes], bytes]) -> str:
    parts = seal(b'{"experiment": {}}', _KEY.public_key()).split(",")
    parts[part] = base64.b64encode(change(base64.b64decode(parts[part]))).decode()
    return ",".join(parts)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("", "has 1 parts"),
        ("a", "has 1 parts"),
        ("YQ==,YQ==,YQ==", "has 3 parts"),
        ("?,YQ==", "its key is not base64"),
        ("YQ==,ä", "its data is not base64"),
        ("YQ==,YQ==", "another key than this runner's"),
        (_with(0, lambda b: b[:-1] + bytes([b[-1] ^ 1])), "another key than this runner's"),
        (_with(0, lambda _: b""), "another key than this runner's"),
        (_with(1, lambda b: b[:-1] + bytes([b[-1] ^ 1])), "does not fit"),
        (_with(1, lambda b: b[:24]), "too short"),
        (_with(1, lambda _: b""), "too short"),
    ],
)
def test_what_is_wrong_is_named(payload: str, said: str) -> None:
    """No error of a library, and no crash for what is too short."""
    with pytest.raises(BadSeal, match=said):
        unseal(payload, _KEY)


@pytest.mark.parametrize("key", [_OTHER])
def test_another_key_opens_nothing(key: RSAPrivateKey) -> None:
    """And the sentence says what is to be done."""
    with pytest.raises(BadSeal, match="public key of today"):
        unseal(seal(b"{}", _KEY.public_key()), key)


@given(st.text())
def test_whatever_comes_is_refused_or_opened(payload: str) -> None:
    """Nobody's text makes anything but one kind of error."""
    with pytest.raises(BadSeal):
        unseal(payload, _KEY)
