"""What is shown holds no secret, however it arrives."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.redaction import Redactor, Secret

_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\nabc\n-----END RSA PRIVATE KEY-----"


def _redactor() -> Redactor:
    redactor = Redactor()
    redactor.add(Secret("s3cr3t/val ue"), "first-line\nsecond-line", "tiny")
    return redactor


@pytest.mark.parametrize(
    "look",
    [
        "s3cr3t/val ue",
        urllib.parse.quote("s3cr3t/val ue", safe=""),
        urllib.parse.quote_plus("s3cr3t/val ue"),
        base64.b64encode(b"s3cr3t/val ue").decode().rstrip("="),
        json.dumps("first-line\nsecond-line")[1:-1],
        "second-line",
    ],
)
def test_a_known_value_is_masked_in_every_look(look: str) -> None:
    """As it is, in a URL, in base64 and in JSON."""
    assert _redactor().redact(f"before {look} after") == "before *** after"


def test_a_short_value_is_left() -> None:
    """Values under six characters would mask ordinary words."""
    assert _redactor().redact("a tiny thing") == "a tiny thing"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key AKIAABCDEFGHIJKLMNOP.", "key ***."),
        ("amqp://guest:gu@st@host:5672/v", "amqp://guest:***@host:5672/v"),
        ("amqp://ada:lovelace@host:5672/v", "amqp://ada:***@host:5672/v"),
        ('{"secret_access_key": "abcd/efgh"}', '{"secret_access_key": "***"}'),
        ("password=hunter22; x", "password=***; x"),
        ("https://hooks.slack.com/services/T0/B0/abcdef", "https://hooks.slack.com/***"),
        ("Authorization: Bearer abcdefghijklmnopqrst", "Authorization: Bearer ***"),
        (f"x {_KEY} y", "x *** y"),
        ("x " + _KEY.replace("\n", "\\n") + " y", "x *** y"),
        (_KEY[:50], "***"),
        ("https://host:80/a@b epoch 3: loss 0.1", "https://host:80/a@b epoch 3: loss 0.1"),
    ],
)
def test_the_forms_of_secrets_are_known(text: str, shown: str) -> None:
    """Cloud keys, passwords in URLs, private keys, hooks and tokens; nothing else is touched."""
    assert _redactor().redact(text) == shown
    assert _redactor().redact(shown) == shown


_PIECES = st.sampled_from(
    [
        b"s3cr3t/val ue",
        b"s3cr3t%2Fval%20ue",
        b"first-line",
        b"second-line",
        b"\n",
        b" ",
        b"x",
        b"AKIAABCDEFGHIJKLMNOP",
        b"https://u:",
        b"pass@h",
        b"-----BEGIN RSA PRIVATE KEY-----",
        b"-----END RSA PRIVATE KEY-----",
        b"MIIabc\n",
        b"Bearer ",
        b"abcdefghijklmnopqrstuv",
        b"password=",
        b"\xff!",
        b"https://hooks.slack.com/services/T/B/abcdefghij",
    ]
)


@given(
    data=st.lists(_PIECES, max_size=12).map(b"".join),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_a_stream_may_be_cut_anywhere(data: bytes, cuts: list[int]) -> None:
    """Any chunking gives what the whole gives, and no known value survives it."""
    redactor = _redactor()
    stream = redactor.stream()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    out = b"".join(map(stream.feed, pieces)) + stream.close()
    assert out == redactor.redact_bytes(data)
    assert b"s3cr3t/val ue" not in out


@given(st.text())
def test_text_without_secrets_is_unchanged(text: str) -> None:
    """Without known values, text of few forms comes through as it is, surrogates included."""
    if not any(mark in text for mark in ("://", "earer", "assword", "ecret")):
        assert Redactor().redact(text) == text


def test_whole_lines_are_not_held_back() -> None:
    """A live output shows a line when it is complete."""
    stream = _redactor().stream()
    assert stream.feed(b"epoch 1\nepo") == b"epoch 1\n"
    assert stream.feed(b"ch 2\n") == b"epoch 2\n"
    assert stream.close() == b""


def test_an_endless_line_needs_bounded_memory() -> None:
    """A stream without newlines is passed on, but for a fixed tail."""
    stream = _redactor().stream()
    passed = sum(len(stream.feed(b"x" * 65_536)) for _ in range(20))
    assert passed > 20 * 65_536 - 20_000


def test_a_secret_never_shows_itself() -> None:
    """repr, str and formatting give stars."""
    secret = Secret("hunter22")
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert secret.reveal() == "hunter22"
    assert secret
    assert not Secret()
