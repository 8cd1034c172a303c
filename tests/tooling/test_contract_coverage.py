"""No backend without its contract: every registered one is put through its room's suite."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from runner.registry import Registry

ROOT = Path(__file__).parents[2]
ROOMS = [
    "queues",
    "stores",
    "cache",
    "environments",
    "sandboxes",
    "resources",
    "reporters",
    "notices",
]


def registered() -> list[tuple[str, str, str]]:
    """Return room, name and ``module:Class`` of every backend there is."""
    found = []
    for room in ROOMS:
        registries = vars(importlib.import_module(f"runner.{room}")).values()
        for registry in registries:
            if isinstance(registry, Registry):
                found += [(room, name, registry[name]) for name in registry]
    return found


def imports(tree: ast.Module) -> set[tuple[str, str]]:
    """Return the pairs of module and name that a test file imports."""
    return {
        (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def bases(tree: ast.Module) -> set[str]:
    """Return the names that the classes of a test file inherit from."""
    return {
        base.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }


def holds_contract(test: Path, room: str, target: str) -> bool:
    """Tell whether this file puts the backend through the suite of its room."""
    tree = ast.parse(test.read_text())
    found = imports(tree)
    suites = {name for module, name in found if module == f"tests.contracts.{room}"}
    module, _, attribute = target.partition(":")
    return (module, attribute) in found and bool(suites & bases(tree))


def test_every_room_has_backends() -> None:
    """The registries were found: each family room has at least one backend."""
    assert {room for room, _, _ in registered()} == set(ROOMS)


@pytest.mark.parametrize(("room", "name", "target"), registered())
def test_every_backend_inherits_its_suite(room: str, name: str, target: str) -> None:
    """A file in ``tests/<room>/`` imports the backend and inherits from ``tests/contracts``."""
    tests = sorted((ROOT / "tests" / room).glob("test_*.py"))
    assert any(holds_contract(test, room, target) for test in tests), (
        f"no test in tests/{room}/ imports {target} and inherits from a class of "
        f"tests/contracts/{room}.py: the backend {name!r} is not held to its room's promises"
    )
