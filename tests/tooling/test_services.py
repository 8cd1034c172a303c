"""The marker ``service``: a test without its service skips, or fails where it is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(directory: Path, service: str, required: str = "") -> str:
    """Run a suite with one test that needs ``service`` and return what pytest printed."""
    (directory / "conftest.py").write_text("from tests.services import pytest_runtest_setup\n")
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = service(name): needs it\n")
    (directory / "test_it.py").write_text(
        f"import pytest\n\n@pytest.mark.service({service!r})\ndef test_it():\n    pass\n"
    )
    environment = {
        **os.environ,
        "PATH": "",
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "REQUIRE_SERVICES": required,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "test_it.py"]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    ).stdout


def test_an_absent_service_skips_by_name(tmp_path: Path) -> None:
    """The skip's line names the service and what was looked for."""
    printed = run(tmp_path, "browser")
    assert "1 skipped" in printed
    assert "service browser: no chromium in PATH" in printed


@pytest.mark.parametrize("required", ["browser", "sqs, browser"])
def test_a_required_service_fails_its_tests(tmp_path: Path, required: str) -> None:
    """What ``REQUIRE_SERVICES`` names must be there."""
    printed = run(tmp_path, "browser", required)
    assert "1 error" in printed
    assert "service browser: no chromium in PATH (REQUIRE_SERVICES names it)" in printed


def test_another_service_being_required_changes_nothing(tmp_path: Path) -> None:
    """Names in ``REQUIRE_SERVICES`` concern only their own tests."""
    assert "1 skipped" in run(tmp_path, "browser", "sqs,pypi")


def test_an_unknown_service_is_a_mistake(tmp_path: Path) -> None:
    """A marker with a misspelt name fails and lists the names."""
    printed = run(tmp_path, "rabitmq")
    assert "no service is called 'rabitmq'" in printed
    assert "rabbitmq" in printed
