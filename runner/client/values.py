"""The numbers that an experiment printed as JSON: the last of each, and how they went. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from runner.lifecycle.metadata.numbers import numbers
from runner.lifecycle.metadata.scraper import Scraper

#: The runner's own part of the document.
_OURS = "studioml"


def metadata(output: str) -> dict[str, Any]:
    r"""Return the document that the lines of an output make, as runners make it.

    >>> metadata('epoch 1\n{"loss": 2, "epoch": 1}\n{"loss": 1}\n')
    {'epoch': 1, 'loss': 1}
    """
    scraper = Scraper(wrap=False)
    scraper.feed(output.encode())
    scraper.close()
    found = cast("dict[str, Any]", json.loads(scraper.document() or b"{}"))
    found.pop(_OURS, None)
    return found


def values(document: Mapping[str, Any]) -> Mapping[str, float]:
    """Return its numbers by path: ``validation/accuracy``."""
    return numbers(document)


def series(output: str, name: str) -> Sequence[tuple[int, float]]:
    r"""Return each number of that path that a line of its own told, with its place among them.

    >>> series('{"loss": 2}\nmore text\n{"loss": 1.5}\n', "loss")
    [(1, 2.0), (2, 1.5)]
    """
    found = (_number(line, name) for line in output.splitlines() if line.startswith("{"))
    told = [value for value in found if value is not None]
    return list(enumerate(told, 1))


def _number(line: str, name: str) -> float | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return numbers(document).get(name) if isinstance(document, dict) else None
