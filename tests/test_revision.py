"""Which commit it is: in a working tree, in a second one, and where there is no repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runner import __version__
from runner.cli import main
from runner.revision import of_tree, revision, shown

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def _git(place: Path, *words: str) -> str:
    own = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        [shutil.which("git") or "git", *own, *words],
        cwd=place,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of one commit."""
    place = tmp_path / "tree"
    place.mkdir()
    (place / "pyproject.toml").touch()
    _git(place, "init", "--quiet")
    _git(place, "add", ".")
    _git(place, "commit", "--quiet", "-m", "first")
    return place


def test_a_working_tree_tells_its_commit(tree: Path) -> None:
    """On a branch, with packed branches, away from every branch, and in a second tree."""
    commit = _git(tree, "rev-parse", "HEAD")
    assert of_tree(tree) == commit
    _git(tree, "pack-refs", "--all")
    assert of_tree(tree) == commit
    second = tree.parent / "second"
    _git(tree, "worktree", "add", "--quiet", "-b", "feature/x", str(second))
    assert of_tree(second) == commit
    _git(tree, "checkout", "--quiet", "--detach")
    assert of_tree(tree) == commit


def test_without_a_commit_there_is_none(tree: Path, tmp_path: Path) -> None:
    """No repository, one without a commit, a broken one, somebody else's: nothing, no error."""
    assert of_tree(tmp_path) == ""
    (tree / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    assert of_tree(tree) == ""
    (tree / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert of_tree(tree) == ""
    (tree / "pyproject.toml").unlink()
    assert of_tree(tree) == ""


def test_the_version_names_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    """``studio-runner --version`` in a checkout of ours; elsewhere the version alone."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"studio-runner {__version__}{shown()}\n"
    root = Path(__file__).parent.parent
    if (root / ".git").exists() and not (root / "runner" / "commit.txt").exists():
        assert revision() == f"{_git(root, 'rev-parse', 'HEAD')}-tree"
