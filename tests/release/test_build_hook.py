"""What is built of a clone knows its commit, however it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release.repository import Repository
from tests.release.test_release import committed

_COMMIT = "runner/commit.txt"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return what the tests clone."""
    return committed(tmp_path_factory.mktemp("original"))


@pytest.fixture
def clone(original: Repository, tmp_path: Path) -> Repository:
    """Return a clone of the test's own."""
    return original.clone(tmp_path / "clone")


def build(source: Path, output: Path, *words: str) -> Path:
    """Build it as installers do, with the locked hatchling; return the one file."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(output), *words]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (file,) = output.iterdir()
    return file


def told(wheel: Path) -> str | None:
    """Return the commit that a wheel names."""
    with zipfile.ZipFile(wheel) as archive:
        if _COMMIT not in archive.namelist():
            return None
        assert archive.getinfo(_COMMIT).external_attr >> 16 & 0o777 == 0o644
        return archive.read(_COMMIT).decode().strip()


def test_a_wheel_of_a_clone_names_its_commit(clone: Repository, tmp_path: Path) -> None:
    """And says so when it is asked; the clone itself is left as it was."""
    wheel = build(clone.root, tmp_path / "dist", "--target", "wheel")
    commit = clone.git("rev-parse", "HEAD")
    assert told(wheel) == commit
    assert not (clone.root / _COMMIT).exists()
    clone.check_clean()
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # noqa: S202 - we have just made it
    said = subprocess.run(
        [sys.executable, "-m", "runner", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.rstrip().endswith(f"({commit[:12]})")


def test_changes_are_told(clone: Repository, tmp_path: Path) -> None:
    """What was built from more than the commit is not taken for the commit."""
    with (clone.root / "runner/model.py").open("a") as file:
        file.write("\n")
    wheel = build(clone.root, tmp_path / "dist", "--target", "wheel")
    assert told(wheel) == f"{clone.git('rev-parse', 'HEAD')}-dirty"


def test_where_git_cannot_be_asked_it_may_be_more(clone: Repository, tmp_path: Path) -> None:
    """The commit is read without git, which alone knows of changes."""
    tools = tmp_path / "tools"
    tools.mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path / "dist")]
    environ = {**os.environ, "PATH": str(tools)}
    subprocess.run(
        [*command, "--target", "wheel"],
        cwd=clone.root,
        env=environ,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").iterdir()
    assert told(wheel) == f"{clone.git('rev-parse', 'HEAD')}-tree"


def test_a_source_distribution_keeps_it(clone: Repository, tmp_path: Path) -> None:
    """A wheel that is made of it, where there is no repository, names the same commit."""
    sdist = build(clone.root, tmp_path / "sdist", "--target", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    wheel = build(source, tmp_path / "dist", "--target", "wheel")
    assert told(wheel) == clone.git("rev-parse", "HEAD")


def test_without_git_it_is_built_all_the_same(clone: Repository, tmp_path: Path) -> None:
    """From an archive of the files: no commit is known, also within somebody else's repository."""
    archive = tmp_path / "files.tar"
    clone.git("archive", "--output", str(archive), "HEAD")
    foreign = tmp_path / "foreign"
    with tarfile.open(archive) as files:
        files.extractall(foreign / "source", filter="data")
    Repository(foreign).git("init", "--quiet")
    wheel = build(foreign / "source", tmp_path / "dist", "--target", "wheel")
    assert told(wheel) is None


def test_what_is_edited_looks_at_its_tree(clone: Repository, tmp_path: Path) -> None:
    """A commit that is written down would be wrong after the next one."""
    code = f"from hatchling.build import build_editable; build_editable({str(tmp_path / 'dist')!r})"
    (tmp_path / "dist").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=clone.root, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert told(wheel) is None
    assert not (clone.root / _COMMIT).exists()
