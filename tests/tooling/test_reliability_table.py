"""``docs/reliability.md`` names tests that exist, and a test for every fault."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tooling.test_trust_table import names_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_ROW = re.compile(r"^\| (\d+|\+) \|.*$", re.MULTILINE)


def test_every_test_that_is_named_exists() -> None:
    """Renaming a test without the table would leave a fault without its proof."""
    named = _TEST.findall(PAGE.read_text())
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or name not in names_in(ROOT / file)
    ]
    assert missing == []


def test_every_fault_has_a_test() -> None:
    """The fifteen scenarios, the clock, and the killing at every moment."""
    rows = list(_ROW.finditer(PAGE.read_text()))
    assert [row[1] for row in rows] == [*map(str, range(1, 16)), "+", "+"]
    assert [row[0] for row in rows if not _TEST.search(row[0])] == []


def test_the_moments_are_those_of_the_harness() -> None:
    """The page lists what is killed when."""
    from tests.faults.wreck import MOMENTS  # noqa: PLC0415 - it brings servers that are not needed

    text = " ".join(PAGE.read_text().split())
    assert [name for name in MOMENTS if name not in text] == []
