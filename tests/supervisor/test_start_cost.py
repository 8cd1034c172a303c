"""A supervisor is started for every experiment: what it must not import before that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COSTLY = {
    "asyncio",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "json",
    "pathlib",
    "re",
    "signal",
    "subprocess",
    "typing",
}


def test_the_supervisor_imports_nothing_costly() -> None:
    """Each of these modules would add milliseconds to the start of every experiment."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import runner.supervisor.watch;"
        "print(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True, text=True
    )
    assert COSTLY.isdisjoint(said.stdout.split())


@pytest.mark.parametrize("script", ["main.py", "probe.py"])
def test_a_script_finds_its_package_from_anywhere(script: str, tmp_path: Path) -> None:
    """Isolated from the environment and the working directory, a script finds its modules."""
    path = ROOT / "runner" / "supervisor" / script
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(path), str(tmp_path / "gone")],
        capture_output=True,
        check=False,
        cwd="/",
        text=True,
    )
    assert "ModuleNotFoundError" not in ran.stderr
