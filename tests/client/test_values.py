"""What the JSON lines of an output add up to, also where they are no JSON."""

from __future__ import annotations

import json

import pytest

from runner.client.values import Gathered, series, values


def gathered(*pieces: bytes) -> dict[str, object]:
    """Return the document of an output that comes in pieces."""
    found = Gathered()
    for piece in pieces:
        found.feed(piece)
    return found.document()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-2E+400"])
def test_a_number_that_is_none_is_not_the_one_before_it(number: str) -> None:
    """What else the line tells counts; Python's own ``json`` writes such lines."""
    output = f'{{"loss": 0.5, "epoch": 1}}\n{{"loss": {number}, "epoch": 2}}\n'.encode()
    assert gathered(output) == {"epoch": 2}
    assert series([output], "loss") == [(1, 0.5)]
    assert series([output], "epoch") == [(1, 1.0), (2, 2.0)]


def test_a_text_that_says_nan_is_a_text() -> None:
    """And so is a number with a long exponent that is one."""
    line = {"note": "NaN and Infinity", "small": 1e-300, "large": 1e300}
    assert gathered(json.dumps(line).encode()) == line


def test_lines_are_cut_where_runners_cut_them() -> None:
    """Blanks around a line, and separators of other sorts within one, change nothing."""
    text = ' {"text": "a\u2028b\x85c", "a": 1} \r\n{"a": 2}'.encode()
    assert series([text[:9], text[9:]], "a") == [(1, 1.0), (2, 2.0)]
    assert gathered(text[:9], text[9:])["a"] == 2


def test_no_number_is_left_out() -> None:
    """A table has all of them, however many; the news have fewer."""
    assert len(values({f"n{number}": number for number in range(200)})) == 200
    assert series([json.dumps({f"n{number}": number for number in range(200)}).encode()], "n199")
