"""The map of rooms names every room, and no room of the lifecycle can import a backend."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.tooling.test_contract_coverage import registered

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "runner"
#: What Python itself asks for.
NAMELESS = {"__init__.py", "__main__.py"}


def rooms(place: Path) -> set[str]:
    """Return the folders with code, as the map writes them."""
    return {f"{path.parent.name}/" for path in place.glob("*/__init__.py")}


def named() -> set[str]:
    """Return what stands in the map's first column."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    the_map = text.partition("## The map")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in the_map.splitlines() if line.startswith("| `")]
    return {word for cell in cells for word in re.findall("`([^`]+)`", cell)}


def test_the_map_names_every_room_and_no_other() -> None:
    """Whoever comes new finds it all there, and nothing that has moved."""
    modules = {path.name for path in RUNNER.glob("*.py")} - NAMELESS
    assert named() == rooms(RUNNER) | modules


def test_the_lifecycles_rooms_are_named() -> None:
    """In its own row."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| `lifecycle/`")]
    assert set(re.findall("`([^`]+)`", row)) == rooms(RUNNER / "lifecycle") | {"lifecycle/"}


@pytest.mark.parametrize(("room", "name", "target"), registered())
def test_the_lifecycle_can_import_no_backend(room: str, name: str, target: str) -> None:
    """import-linter is told of each, or it would not know."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (listed,) = [
        one["forbidden_modules"]
        for one in contracts["contracts"]
        if one.get("source_modules") == ["runner.lifecycle"]
    ]
    module = target.partition(":")[0]
    assert any(f"{module}.".startswith(f"{one}.") for one in listed), f"{room}: {name}"
