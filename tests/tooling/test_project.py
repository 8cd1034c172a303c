"""The project's own files: locks that can be trusted anywhere, a set-up that explains itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?: ;.*)? \\$")


def pins(lock: Path) -> dict[str, str]:
    """Return what a lock file pins: name to version."""
    found = (PINNED.match(line) for line in lock.read_text().splitlines())
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def declared(*, group: str | None = None) -> list[Requirement]:
    """Return what ``pyproject.toml`` asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = project["dependency-groups"][group] if group else project["project"]["dependencies"]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_name_no_address(lock: Path) -> None:
    """Where packages come from is the machine's business: a lock has names, versions, hashes."""
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", re.sub(r"(?m)^\s+--hash=\S+( \\)?$", "", text), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_hash_everything(lock: Path) -> None:
    """Every line that names a package pins its version and is followed by hashes."""
    lines = lock.read_text().splitlines()
    packages = [number for number, line in enumerate(lines) if re.match(r"[A-Za-z0-9]", line)]
    assert packages
    for number in packages:
        assert PINNED.match(lines[number]), lines[number]
        assert lines[number + 1].strip().startswith("--hash=sha256:")


@pytest.mark.parametrize(
    ("lock", "group"), [("runtime.txt", None), ("dev.txt", "dev"), ("dev.txt", "docs")]
)
def test_locks_are_up_to_date(lock: str, group: str | None) -> None:
    """What ``pyproject.toml`` asks for is pinned, to a version it allows; else ``make lock``."""
    pinned = pins(ROOT / "requirements" / lock)
    for requirement in declared(group=group):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in {lock}: run make lock"
        assert requirement.specifier.contains(version, prereleases=True)


def test_locks_agree() -> None:
    """The tests run with the very versions that a runner is installed with."""
    runtime, dev = (pins(ROOT / "requirements" / name) for name in ("runtime.txt", "dev.txt"))
    installer = pins(ROOT / "requirements" / "installer.txt")
    assert runtime.items() <= dev.items()
    assert installer.items() <= dev.items()


def test_setup_without_a_python_says_so(tmp_path: Path) -> None:
    """A machine with no Python that will do gets one sentence with the remedy."""
    for name in ("cat", "cksum", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = ["/bin/sh", str(ROOT / "requirements" / "install.sh"), str(tmp_path / "venv")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "No Python 3.11 or newer was found in PATH" in done.stderr
    assert not (tmp_path / "venv").exists()
