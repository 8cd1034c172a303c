"""Sizes and durations: what clients write is read, what is none is refused with the remedy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.request.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512gb", 512 * 10**9),
        ("16gib", 16 * 2**30),
        ("1024mb", 1024 * 10**6),
        ("2G", 2 * 10**9),
        ("3g", 3 * 10**9),
        ("3gb", 3_000_000_000),
        ("1Gib", 1_073_741_824),
        ("10Gb", 10**10),
        ("42", 42),
        ("0", 0),
        ("7b", 7),
        ("1.5kb", 1500),
        ("1,024", 1024),
        (" 3 GB ", 3 * 10**9),
        ("1.9", 1),
        (".5k", 500),
        ("15EiB", 15 * 2**60),
    ],
)
def test_sizes_are_read_as_clients_write_them(text: str, size: int) -> None:
    """Units are case-insensitive, decimal without i; fractions of a byte are cut off."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "gb", "3 parsec", "-1gb", "1.2.3", "16eib", "1e9", ",", ".", "1gb2", "9" * 500, "٣gb"],
)
def test_what_is_no_size_is_refused_with_the_accepted_form(text: str) -> None:
    """The sentence shows how a size is written."""
    with pytest.raises(ValueError, match=r"gb|eib"):
        parse_size(text)


@given(st.integers(0, 2**63))
def test_a_formatted_size_is_read_as_nearly_the_same(size: int) -> None:
    """Two or three digits remain, so at most 5 % are lost."""
    assert abs(parse_size(format_size(size)) - size) <= 0.051 * size


@pytest.mark.parametrize(
    ("size", "text"),
    [(7, "7 B"), (83_000_000, "83 MB"), (9_500_000_000, "9.5 GB"), (999_999, "1.0 MB"), (0, "0 B")],
)
def test_sizes_are_shown_in_decimal_units(size: int, text: str) -> None:
    """One decimal below ten units, none above."""
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20m", 1200),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("48h", 48 * 3600),
        ("75s", 75),
        ("1H30M", 5400),
        ("0", 0),
        ("0s", 0),
        ("-5m", -300),
        ("1h-5m", 3300),
        ("100ms", 0.1),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1000ns", 1e-6),
        (".5s", 0.5),
    ],
)
def test_durations_are_read_as_go_and_the_client_write_them(text: str, seconds: float) -> None:
    """Numbers with units, signs where the client's grammar allows them."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "1d", "m", "1h 30m", "ten", "9" * 30 + "h", "1.2.3h", "٣m"]
)
def test_what_is_no_duration_is_refused_with_the_accepted_form(text: str) -> None:
    """Bare numbers and days too: nobody knows what they mean."""
    with pytest.raises(ValueError, match="h"):
        parse_duration(text)


@given(st.timedeltas(timedelta(days=-3650), timedelta(days=3650)))
def test_a_formatted_duration_is_read_as_the_same(duration: timedelta) -> None:
    """Nothing is lost on the way through text."""
    assert parse_duration(format_duration(duration)) == duration


def test_durations_are_shown_without_empty_parts() -> None:
    """A person reads 1h30m, not 1h30m0s."""
    assert format_duration(timedelta(minutes=90)) == "1h30m"
    assert format_duration(timedelta(seconds=1.5)) == "1.5s"
    assert format_duration(timedelta(0)) == "0s"
