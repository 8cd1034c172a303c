"""What an experiment prints, on its way into reports."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.responses.printed import LONGEST, MOST, Printed, folded, fragments

LINES = st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=30), max_size=200)


@given(LINES, st.lists(st.integers(0, 6000), max_size=5))
def test_lines_are_the_same_however_they_arrive(lines: list[str], cuts: list[int]) -> None:
    """In one piece, or cut anywhere."""
    text = "\n".join(lines)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    printed, found = Printed(), list[str]()
    for start, end in itertools.pairwise(places):
        found += printed.feed(text[start:end])
    found += printed.close()
    wanted = text.split("\n")
    assert found == (wanted if wanted[-1] else wanted[:-1])


@given(LINES, st.integers(1, 30))
def test_no_line_is_left_out_however_many_there_are(lines: list[str], most: int) -> None:
    """Few get a report each; many share some, in their order."""
    messages = folded(lines, most)
    assert "\n".join(messages) == "\n".join(lines)
    assert len(messages) <= most
    if len(lines) <= most:
        assert messages == lines


@given(st.lists(st.integers(0, LONGEST), max_size=100))
def test_no_report_is_too_long_for_a_broker(lengths: list[int]) -> None:
    """Long lines get reports of their own, be they many."""
    messages = folded(["x" * length for length in lengths])
    assert all(len(message) <= LONGEST for message in messages)
    assert sum(len(message.replace("\n", "")) for message in messages) == sum(lengths)


def test_a_progress_bar_is_what_a_terminal_shows_at_last() -> None:
    """A thousand looks of one line are one line."""
    printed = Printed()
    bars = "".join(f"\r{percent:4}% {'#' * 30}" for percent in range(1000))
    assert printed.feed(f"epoch 1\r\n{bars}") == ["epoch 1"]
    assert printed.feed("\ndone\n") == [" 999% " + "#" * 30, "done"]


def test_a_line_without_end_is_cut_in_bounded_memory() -> None:
    """Nobody can fill the daemon's memory by leaving the line's end out."""
    printed = Printed()
    for _ in range(100):
        assert printed.feed("x" * LONGEST) == []
    assert printed.feed("\nnext\n") == ["x" * LONGEST + "…", "next"]


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ('{"loss": 0.5}', True),
        ('  {"a": {"b": [1]}}  ', True),
        ('[{"op": "add", "path": "/x", "value": 1}]', True),
        ("[1, 2]", False),
        ("[]", False),
        ("{'loss': 0.5}", False),
        ("{broken}", False),
        ("[" * 5000 + "]" * 5000, False),
        ("plain", False),
        ("", False),
    ],
    ids=["object", "nested", "patch", "list", "empty", "python", "broken", "deep", "plain", "none"],
)
def test_json_fragments_are_those_that_metadata_is_made_of(line: str, *, is_one: bool) -> None:
    """Objects, and lists of objects."""
    assert fragments([line]) == ([line.strip()] if is_one else [])


def test_of_many_fragments_the_last_ones_are_told() -> None:
    """All of them are in the lines as well."""
    lines = [json.dumps({"step": step}) for step in range(100)]
    assert fragments(lines) == lines[-MOST:]
