"""What the JSON lines of an output add up to, also where they are no JSON."""

from __future__ import annotations

import json

import pytest

from runner.client.values import STEPS, Gathered, series, values


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
    assert series([output], "loss").points == [(1, 0.5)]
    assert series([output], "epoch").points == [(1, 1.0), (2, 2.0)]


def test_a_text_that_says_nan_is_a_text() -> None:
    """And so is a number with a long exponent that is one."""
    line = {"note": "NaN and Infinity", "small": 1e-300, "large": 1e300}
    assert gathered(json.dumps(line).encode()) == line


def test_lines_are_cut_where_runners_cut_them() -> None:
    """Blanks around a line, and separators of other sorts within one, change nothing."""
    text = ' {"text": "a\u2028b\x85c", "a": 1} \r\n{"a": 2}'.encode()
    assert series([text[:9], text[9:]], "a").points == [(1, 1.0), (2, 2.0)]
    assert gathered(text[:9], text[9:])["a"] == 2


def test_no_number_is_left_out() -> None:
    """A table has all of them, however many; the news have fewer."""
    assert len(values({f"n{number}": number for number in range(200)})) == 200
    line = json.dumps({f"n{number}": number for number in range(200)}).encode()
    assert series([line], "n199").values == [199]


@pytest.mark.parametrize(
    ("beside", "counts"),
    [
        ([{"step": n} for n in (10, 20, 30, 40)], ["step"]),
        ([{"step": n, "epoch": n / 4} for n in (1, 2, 3, 4)], ["step", "epoch"]),
        ([{"step": n % 2, "epoch": n} for n in (1, 2, 3, 4)], ["epoch"]),
        ([{"epoch": 1}, {"epoch": 1}, {"epoch": 2}, {"epoch": 2}], []),
        ([{"iteration": 1}, {"iteration": 2}, {"iteration": 3}, {}], ["iteration"]),
        ([{"step": 1}, {}, {}, {"step": 2}], []),
        ([{"global_step": True}] * 4, []),
        ([{}] * 4, []),
    ],
)
def test_what_counts_the_lines_is_found(beside: list[dict[str, float]], counts: list[str]) -> None:
    """It rises from line to line; a summary at the end may lack it."""
    lines = [json.dumps({"loss": n, **one}) for n, one in enumerate(beside)]
    found = series(["\n".join(lines).encode()], "loss", STEPS)
    assert found.steps == counts
    assert found.values == [0, 1, 2, 3]


def test_a_step_may_lie_deeper() -> None:
    """On the level of the number, else above it."""
    lines = b'{"train": {"loss": 2, "step": 7}, "step": 1}\n{"train": {"loss": 1}, "step": 9}'
    assert series([lines], "train/loss", ["step"]).beside == {"step": [(7, 2), (9, 1)]}
