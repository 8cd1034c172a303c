"""The numbers in metadata."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.metadata.numbers import numbers
from runner.lifecycle.metadata.scraper import RedactedScraper, Scraper
from runner.redaction import Redactor

NAMES = st.sampled_from(["a", "b", "studioml", "log", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def test_numbers_are_found_by_their_path() -> None:
    """Not truth values, texts, lists, what is not finite, nor the runner's own lines."""
    document = {
        "loss": 0.5,
        "epoch": 3,
        "validation": {"accuracy": 0.9, "name": "x", "deep": {"er": 1}},
        "done": True,
        "odd": float("nan"),
        "huge": 10**400,
        "many": [1, 2],
        "studioml": {"log": [{"ts": 1}], "fitness": 7},
    }
    assert numbers(document) == {
        "loss": 0.5,
        "epoch": 3.0,
        "validation/accuracy": 0.9,
        "validation/deep/er": 1.0,
        "studioml/fitness": 7.0,
    }


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_object_has_numbers(document: dict[str, object]) -> None:
    """Whatever an experiment printed: bounded, and plain numbers."""
    found = numbers(document)
    assert len(found) <= 50
    json.dumps(found, allow_nan=False)


def test_many_numbers_are_few() -> None:
    """An object of a million members costs no more than its first thousands."""
    assert len(numbers({str(n): n for n in range(100_000)})) == 50


def test_a_scraper_knows_the_numbers_of_what_was_printed() -> None:
    """The latest value counts."""
    scraper = RedactedScraper(Scraper(), Redactor())
    scraper.feed(b'{"loss": 2}\nhello\n{"loss": 1, "lr": 0.1}\n')
    scraper.close()
    assert scraper.numbers() == {"loss": 1.0, "lr": 0.1}
