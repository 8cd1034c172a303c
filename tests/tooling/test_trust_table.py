"""``docs/trust.md`` names tests and files that exist, and a test for every promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "trust.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_CODE = re.compile(r"`(runner/[\w/.*]+)`")
_PENDING = "not built yet"


def promises() -> list[list[str]]:
    """Return the rows of all tables of promises: promise, code, tests."""
    rows, is_promise = [], False
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if "|" in line else []
        if not cells or set(line) <= {"|", "-"}:
            is_promise = is_promise and bool(cells)
        elif cells[0] == "promise":
            is_promise = True
        elif is_promise:
            rows.append(cells)
    return rows


def names_in(file: Path) -> set[str]:
    """Return the names of the tests in a file, those of classes too."""
    nodes = ast.walk(ast.parse(file.read_text()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in nodes if isinstance(node, kinds)}


def test_every_test_that_is_named_exists() -> None:
    """Renaming a test without the table would leave a promise without its proof."""
    named = _TEST.findall(TABLE.read_text())
    assert len(named) > 100
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or name not in names_in(ROOT / file)
    ]
    assert missing == []


def test_every_promise_has_a_test_or_says_that_it_is_none_yet() -> None:
    """And the place in the code that holds it."""
    rows = promises()
    assert len(rows) > 50
    proved = [row for row in rows if _TEST.search(row[-1]) or _PENDING in row[-1]]
    bare = [row[0] for row in rows if row not in proved]
    assert bare == []
    nowhere = [row[0] for row in rows if not _CODE.search(row[1]) and _PENDING not in row[2]]
    assert nowhere == []


def test_the_code_that_is_named_exists() -> None:
    """Files move; the table moves with them."""
    named = set(_CODE.findall(TABLE.read_text()))
    assert sorted(name for name in named if not list(ROOT.glob(name.rstrip("/")))) == []
