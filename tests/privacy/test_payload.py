"""Sealing and unsealing, and what is said of what cannot be unsealed."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from runner.privacy.payload import BadSeal, seal, unseal


@functools.cache
def _key(number: int = 0) -> RSAPrivateKey:
    """Return a key of half the length that is usual, for tests are many; made when first used."""
    del number
    return generate_private_key(65537, 2048)


@given(st.binary(max_size=4096))
def test_what_was_sealed_is_unsealed(request_: bytes) -> None:
    """Whatever the bytes are."""
    assert unseal(seal(request_, _key().public_key()), _key()) == request_


def test_the_form_is_the_protocols() -> None:
    """Two parts in base64: as long as the key, and 24 + 16 bytes more than the request."""
    wrapped, locked = (base64.b64decode(p) for p in seal(b"{}", _key().public_key()).split(","))
    assert (len(wrapped), len(locked)) == (256, 24 + 16 + 2)


def test_nothing_is_sealed_alike_twice() -> None:
    """Key and nonce are new for each message."""
    assert seal(b"{}", _key().public_key()) != seal(b"{}", _key().public_key())


def _with(part: int, change: Callable[[bytes], bytes]) -> Callable[[], str]:
    def spoilt() -> str:
        parts = seal(b'{"experiment": {}}', _key().public_key()).split(",")
        parts[part] = base64.b64encode(change(base64.b64decode(parts[part]))).decode()
        return ",".join(parts)

    return spoilt


def _written(payload: str) -> Callable[[], str]:
    return lambda: payload


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (_written(""), "has 1 parts"),
        (_written("a"), "has 1 parts"),
        (_written("YQ==,YQ==,YQ=="), "has 3 parts"),
        (_written("?,YQ=="), "its key is not base64"),
        (_written("YQ==,ä"), "its data is not base64"),
        (_written("YQ==,YQ=="), "another key than this runner's"),
        (_with(0, lambda b: b[:-1] + bytes([b[-1] ^ 1])), "another key than this runner's"),
        (_with(0, lambda _: b""), "another key than this runner's"),
        (_with(1, lambda b: b[:-1] + bytes([b[-1] ^ 1])), "does not fit"),
        (_with(1, lambda b: b[:24]), "too short"),
        (_with(1, lambda _: b""), "too short"),
    ],
)
def test_what_is_wrong_is_named(payload: Callable[[], str], said: str) -> None:
    """No error of a library, and no crash for what is too short."""
    with pytest.raises(BadSeal, match=said):
        unseal(payload(), _key())


def test_another_key_opens_nothing() -> None:
    """And the sentence says what is to be done."""
    with pytest.raises(BadSeal, match="public key of today"):
        unseal(seal(b"{}", _key().public_key()), _key(1))


@given(st.text())
def test_whatever_comes_is_refused_or_opened(payload: str) -> None:
    """Nobody's text makes anything but one kind of error."""
    with pytest.raises(BadSeal):
        unseal(payload, _key())
