"""A release of this very tree, in a copy: one version everywhere, and files that work."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from datetime import date
from pathlib import Path

import pytest

from release import building, stamps, trying
from release.repository import Repository
from release.versions import Refused
from tests.services import required

ROOT = Path(__file__).parents[2]
NEW = "77.1.0"


def committed(place: Path) -> Repository:
    """Make a repository that has what the working tree has, and something to release."""
    words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, Repository(ROOT).git(*words).split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    log = place / "CHANGELOG.md"
    log.write_text(log.read_text().replace("[Unreleased]\n", "[Unreleased]\n\n- A thing.\n", 1))
    made = Repository(place)
    made.git("init", "--quiet", "--initial-branch", "trunk")
    identified(made).git("add", ".")
    made.commit("All of it")
    return made


def identified(repository: Repository) -> Repository:
    """Give the repository somebody who commits."""
    repository.git("config", "user.name", "A Person")
    repository.git("config", "user.email", "person@example.org")
    return repository


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return what the tests clone."""
    return committed(tmp_path_factory.mktemp("original"))


@pytest.fixture
def repository(original: Repository, tmp_path: Path) -> Repository:
    """Return a repository of the test's own."""
    return original.clone(tmp_path / "repository")


def run(repository: Repository, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the release there."""
    return subprocess.run(
        [sys.executable, "-m", "release", *words],
        cwd=repository.root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(repository.root.parent)},
    )


def test_a_dirty_tree_or_an_old_version_is_refused(repository: Repository) -> None:
    """Nothing happens before somebody has committed, and decided on a version that is newer."""
    head = repository.git("rev-parse", "HEAD")
    refused = run(repository, "0.0.1")
    assert refused.returncode == 1
    assert "0.0.1 is older than" in refused.stderr
    (repository.root / "README.md").write_text("changed\n")
    (repository.root / "new").touch()
    refused = run(repository, NEW)
    assert refused.returncode == 1
    assert "the tree has changes" in refused.stderr
    assert "README.md, new" in refused.stderr
    assert repository.git("rev-parse", "HEAD") == head
    assert not (repository.root / "dist").exists()


def test_who_commits_may_be_said_by_the_environment(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a build machine; where nobody is said at all, git's own words say what to do."""
    for name in ("user.name", "user.email"):
        repository.git("config", "--unset", name)
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", os.devnull)
    nobody = repository.clone(tmp_path / "nobody")
    nobody.git("config", "user.useConfigOnly", "true")  # nothing is guessed from this machine
    (nobody.root / "README.md").write_text("changed\n")
    with pytest.raises(Refused, match="auto-detection is disabled"):
        nobody.commit("By nobody")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A Machine")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "machine@example.org")
    assert nobody.commit("By a machine") == nobody.git("rev-parse", "HEAD")


def test_every_place_names_the_new_version(repository: Repository) -> None:
    """Package, changelog and manifests agree, and no file is written when one of them is wrong."""
    kustomization = repository.root / "deploy/k8s/base/kustomization.yaml"
    good = kustomization.read_text()
    kustomization.write_text(good.replace("newTag", "tag"))
    before = stamps.current(repository.root)
    day = date(2026, 3, 4)
    with pytest.raises(Refused, match=r"kustomization\.yaml must name the version once"):
        stamps.stamp(repository.root, NEW, day)
    assert stamps.current(repository.root) == before
    kustomization.write_text(good)
    stamps.stamp(repository.root, NEW, day)
    assert stamps.current(repository.root) == NEW
    assert re.search(rf'^\s*newTag: "?{re.escape(NEW)}"?$', kustomization.read_text(), re.MULTILINE)
    assert f"## [{NEW}] - 2026-03-04" in (repository.root / "CHANGELOG.md").read_text()
    named = repository.git("grep", "-h", "-E", r"runner:[0-9]+\.[0-9]|VERSION_TAG=[0-9]", "docs")
    assert NEW in named
    assert before not in named


def test_the_same_commit_gives_the_same_bytes(repository: Repository, tmp_path: Path) -> None:
    """Wheel and sdist can be built again by anybody; the wheel has every file that git knows."""
    sums = []
    for turn in ("first", "second"):
        clone = repository.clone(tmp_path / turn)
        output = tmp_path / f"{turn}-dist"
        commit = clone.git("rev-parse", "HEAD")
        files = building.distributions(clone.root, output, commit=commit, epoch=clone.time())
        sums.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert sums[0] == sums[1]
    wheel, sdist = files
    trying.check_contents(wheel, clone.files("runner"))
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("runner/commit.txt").decode().strip() == commit
    with tarfile.open(sdist) as archive_:
        assert any(name.endswith("/runner/commit.txt") for name in archive_.getnames())
    with pytest.raises(Refused, match=r"lacks \['runner/more\.txt'\]"):
        trying.check_contents(wheel, [*clone.files("runner"), "runner/more.txt"])


@pytest.mark.service("pypi")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["packages", "single-file"])
def test_a_release_is_whole_or_did_not_happen(repository: Repository, kind: str) -> None:
    """A release adds one commit, and files that were installed and tried.

    Nothing is tagged and nothing is pushed: it says what is left to do. With the single file, only
    where REQUIRE_SERVICES asks for it by that name.
    """
    if kind == "single-file" and kind not in required():
        pytest.skip("service single-file: it takes a minute; REQUIRE_SERVICES=single-file asks")
    head = repository.git("rev-parse", "HEAD")
    done = run(repository, NEW, *(["--no-single-file"] if kind == "packages" else []))
    assert done.returncode == 0, done.stderr
    assert repository.git("rev-parse", "HEAD~1") == head
    repository.check_clean()
    commit = repository.git("rev-parse", "HEAD")
    assert f"git tag --annotate v{NEW}" in done.stdout
    assert commit in done.stdout
    assert repository.tags() == []
    dist = repository.root / "dist"
    names = {path.name for path in dist.iterdir()}
    expected = {
        "SHA256SUMS",
        f"studio_runner-{NEW}-py3-none-any.whl",
        f"studio_runner-{NEW}.tar.gz",
    }
    assert expected <= names
    assert [os.access(dist / name, os.X_OK) for name in names - expected] == (
        [True] if kind == "single-file" else []
    )
    check = ["/usr/bin/sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(check, cwd=dist, capture_output=True, check=True)
    assert len(checked.stdout.splitlines()) == len(names) - 1
    again = run(repository, NEW, "--dry-run")
    assert again.returncode == 1
    assert f"{NEW} is not newer than {NEW}" in again.stderr
