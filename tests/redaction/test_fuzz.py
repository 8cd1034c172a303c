"""Whatever is planted, wherever the stream is cut: no secret comes through, and all else does."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.redaction import MASK, SHORTEST, RedactingStream, Redactor
from runner.redaction.known import Known
from runner.redaction.looks import looks
from runner.redaction.redactor import _BATCH

#: Few characters, so that values overlap, begin alike and lie in each other; some of many bytes.
_ALPHABET = 'abAB01+/ é€\U0001f600"\\\n'
_SECRETS = st.lists(st.text(_ALPHABET, min_size=1, max_size=24), max_size=5)
_CUTS = st.lists(st.integers(0, 4000), max_size=20)


def fed(stream: RedactingStream, data: bytes, cuts: list[int]) -> bytes:
    """Return what a stream makes of data that is cut there."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return b"".join(stream.feed(data[a:b]) for a, b in itertools.pairwise(places)) + stream.close()


def masked_slowly(data: bytes, values: set[bytes]) -> bytes:
    """Return what is right, by looking for each value at each place."""
    spans = sorted(
        (place, place + len(value))
        for value in values
        for place in range(len(data))
        if data.startswith(value, place)
    )
    out, done = b"", 0
    for start, end in spans:
        if start >= done:
            out += data[done:start] + MASK.encode()
        done = max(done, end)
    return out + data[done:]


@st.composite
def planted(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Return secrets, and text in which they stand in all their looks."""
    secrets = draw(_SECRETS)
    shown = sorted({look for one in secrets for look in looks(one)})
    filler = st.text(_ALPHABET, max_size=12).map(str.encode)
    piece = st.one_of(filler, st.sampled_from(shown)) if shown else filler
    text = draw(st.lists(piece, max_size=12))
    return secrets, b"".join(text)


@given(case=planted(), cuts=_CUTS)
def test_no_secret_survives_any_cutting(case: tuple[list[str], bytes], cuts: list[int]) -> None:
    """The result is that of looking for each value at each place, however the stream is cut."""
    secrets, data = case
    redactor = Redactor()
    redactor.add(*secrets)
    values = {look for one in secrets for look in looks(one)}
    right = masked_slowly(data, values)
    assert redactor.redact_bytes(data) == right
    assert fed(redactor.stream(), data, cuts) == right


@given(
    data=st.lists(
        st.sampled_from(
            [
                *(b"-----BEGIN RSA PRIVATE KEY-----", b"-----END RSA PRIVATE KEY-----", b"MIIa"),
                *(b"-----", b"-", b"\n", b" ", b"_", b"password=", b"Secret_Key: ", b'\\"', b"***"),
                *(b"https://u:", b"p@", b"?sig=", b"&token=", b"Bearer ", b"x" * 20, b"AKIA"),
                *(b"A" * 16, b"ghp_", b"eyJ" + b"a" * 12, b".eyJ" + b"b" * 12, b"." + b"c" * 12),
                *("é".encode(), b"\xff", b"hooks.slack.com/", b"xoxb-", b"token", b"api_key="),
            ]
        ),
        max_size=16,
    ).map(b"".join),
    cuts=_CUTS,
)
def test_forms_do_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    """What is recognised by its form is so in pieces too, and once masked it stays as it is."""
    redactor = Redactor()
    whole = redactor.redact_bytes(data)
    assert fed(redactor.stream(), data, cuts) == whole


@given(length=st.integers(1, 60_000), step=st.integers(1, 9_000), after=st.booleans())
def test_a_line_without_an_end_is_cut_anywhere_too(length: int, step: int, after: bool) -> None:  # noqa: FBT001 - drawn
    """Where no newline comes, what is longer than the longest match is decided as it would be."""
    redactor = Redactor()
    redactor.add("s3cr3t-value")
    piece = b"x" * 700 + b" password=" + b"h" * 90 + b" s3cr3t-value" + b"api_key=" * after
    data = (piece * (length // len(piece) + 1))[:length]
    assert fed(redactor.stream(), data, list(range(0, length, step))) == redactor.redact_bytes(data)


@given(st.text(), st.lists(st.text(min_size=SHORTEST), max_size=5))
def test_text_without_secrets_passes_unchanged(text: str, secrets: list[str]) -> None:
    """Not a byte of it is touched, surrogates included."""
    data = text.encode("utf-8", "surrogatepass")
    known = {look for one in secrets for look in looks(one)}
    redactor = Redactor()
    redactor.add(*secrets)
    if not any(look in data for look in known):
        assert redactor.redact(text) == text


@given(st.lists(st.binary(min_size=SHORTEST, max_size=40), max_size=90), st.binary(max_size=200))
def test_the_tables_find_what_a_search_finds(values: list[bytes], filler: bytes) -> None:
    """Among few and among many, at any place, and after half of them were taken away."""
    known = Known()
    crowd = [b"%08d of the crowd" % number for number in range(70)]
    known.add(crowd)
    known.add(values)
    data = filler.join(values)
    assert set(known.found(data)) == {one for one in (*values, *crowd) if one in data}
    known.remove(values[::2])
    left = {*values[1::2], *crowd}
    assert set(known.found(data)) == {one for one in left if one in data}
    known.remove(values[1::2])
    known.remove(crowd)
    assert (len(known), known.found(data), known.longest) == (0, [], 0)
    assert not any(known._tables.values())
    assert not known._tiny


@given(st.integers(8100, 8300), st.sampled_from(["password=", "?sig=", "x://u:"]))
def test_the_longest_match_ends_between_characters(count: int, before: str) -> None:
    """A secret beyond all measure is cut, and what is left is text still."""
    for odd in ("", "a"):
        text = before + odd + "é" * count
        assert re.search(r"é|\*", Redactor().redact(text))


def test_small_pieces_of_an_endless_line_are_gathered() -> None:
    """Each byte is looked at a bounded number of times, however small the pieces are."""
    stream = Redactor().stream()
    stream.feed(b"x" * 40_000)
    assert {len(stream.feed(b"x" * 10)) for _ in range(_BATCH // 10 - 1)} == {0}
    assert len(stream.feed(b"x" * 30)) >= _BATCH - 10


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n" * 20_000,
        "-----BEGIN PRIVATE KEY-----" * 20_000,
        "password=" * 60_000,
        "password:\n" * 60_000,
        "://a:" * 120_000,
        "://" + "a:" * 250_000,
        "eyJ" * 200_000,
        "?sig=" * 100_000,
        "Bearer " * 80_000,
        "xoxb-" * 100_000,
        "token " * 100_000,
        "a" * 600_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    """Twice the text is about twice the work: counted in steps of the interpreter's patterns.

    Half a megabyte of the worst that is known passes within the patience of a test.
    """
    redactor = Redactor()
    redactor.add("a" * 40, "aaaaaa")
    assert len(redactor.redact(text)) <= len(text) + 3
