"""A submission takes the project's own files, and leaves the rest with a reason."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from runner.archives.pack import pack_directory
from runner.archives.select import Selection, select


def make(root: Path, files: dict[str, str]) -> None:
    """Write files with their directories."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def reasons(found: Selection) -> dict[str, str]:
    """Return what was left out, and why."""
    return {each.name: each.reason for each in found.left_out}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return an empty workspace."""
    made = tmp_path / "project"
    made.mkdir()
    return made


def test_a_plain_project_goes_whole(project: Path) -> None:
    """Files with their sizes, empty directories and inner links."""
    make(project, {"train.py": "print()", "lib/net.py": "", ".hidden": "x"})
    (project / "empty").mkdir()
    (project / "link").symlink_to("lib/net.py")
    found = select(project)
    assert found.files == {".hidden": 1, "lib/net.py": 0, "link": 0, "train.py": 7}
    assert (found.bytes, found.left_out) == (8, ())
    assert found.directories == {"empty", "lib"}


def test_the_archive_has_what_was_selected(project: Path) -> None:
    """Selection and packing fit together."""
    make(project, {"train.py": "", "data/big": "", "data/keep": "", ".gitignore": "data/big"})
    found = select(project)
    file = io.BytesIO()
    pack_directory(project, file, keep=found.keeps)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == [".gitignore", "data", "data/keep", "train.py"]


def test_ignore_files_mean_what_git_means(project: Path) -> None:
    """Every path that git ignores is ignored here, and no other: nested, negated, anchored."""
    make(
        project,
        {
            ".gitignore": "*.log\n!keep.log\n/top\nbuild/\nsub/**/deep\n# comment\n\\#odd\n\n!\n",
            "a.log": "",
            "keep.log": "",
            "top": "",
            "sub/top": "",
            "build/x": "",
            "sub/build/y": "",
            "sub/a/b/deep": "",
            "#odd": "",
            "sub/.gitignore": "!special.log\n*.tmp\n",
            "sub/special.log": "",
            "sub/other.log": "",
            "sub/x.tmp": "",
            "x.tmp": "",
            "file/build": "",
        },
    )
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)  # noqa: S607 - any git
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],  # noqa: S607 - any git
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    assert sorted(select(project).files) == sorted(listed.stdout.rstrip("\0").split("\0"))


def test_ignore_files_above_count_within_the_repository(tmp_path: Path) -> None:
    """A workspace inside a repository obeys the repository's rules, but none from beyond it."""
    make(tmp_path, {".gitignore": "*.py", "repo/.gitignore": "/work/*.bin"})
    make(tmp_path / "repo" / "work", {"a.bin": "", "a.py": "", "sub/b.bin": ""})
    (tmp_path / "repo" / ".git").mkdir()
    assert sorted(select(tmp_path / "repo" / "work").files) == ["a.py", "sub/b.bin"]


def test_studioignore_has_the_last_word(project: Path) -> None:
    """It ignores what git keeps, and takes along what git, or we, would leave."""
    make(
        project,
        {
            ".gitignore": "*.bin\n",
            ".studioignore": "notes/\n!weights.bin\n!.env\n",
            "weights.bin": "",
            "other.bin": "",
            "notes/a": "",
            ".env": "KEY=1",
        },
    )
    found = select(project)
    assert sorted(found.files) == [".env", ".gitignore", ".studioignore", "weights.bin"]
    assert reasons(found) == {
        "notes": ".studioignore ignores it",
        "other.bin": ".gitignore ignores it",
    }


def test_version_control_and_environments_stay(project: Path) -> None:
    """Each is left as a whole, with one reason."""
    make(
        project,
        {
            ".git/config": "",
            "__pycache__/a.pyc": "",
            "my-env/pyvenv.cfg": "",
            "my-env/lib/x.py": "",
            "conda/conda-meta/history": "",
            "venv/just_a_name.py": "",
        },
    )
    found = select(project)
    assert list(found.files) == ["venv/just_a_name.py"]
    assert set(reasons(found)) == {".git", "__pycache__", "conda", "my-env"}
    assert "builds anew" in reasons(found)["my-env"]


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.production",
        "server.pem",
        "tls.KEY",
        "id_rsa",
        "ssh-passphrase",
        "id_ed25519.bak",
        "credentials.json",
        "client_secret_123.json",
        ".netrc",
        ".pypirc",
        "deep/down/.npmrc",
        ".aws/config",
        ".ssh/known_hosts",
    ],
)
def test_credentials_are_known_by_their_name(project: Path, name: str) -> None:
    """They stay, and the reason says how to take them along all the same."""
    make(project, {name: "", "train.py": ""})
    found = select(project)
    assert list(found.files) == ["train.py"]
    (reason,) = reasons(found).values()
    assert "looks like credentials; a line !" in reason


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "service_account", "private_key": "x"}',
        '{"installed": {"client_secret": "x"}}',
        '{"type": "authorized_user", "refresh_token": "x"}',
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
        "-----BEGIN RSA PRIVATE KEY-----\nx",
    ],
)
def test_credentials_are_known_by_their_content(project: Path, content: str) -> None:
    """Whatever the file is called."""
    make(project, {"settings.json": content})
    assert list(select(project).files) == []


def test_what_only_sounds_secret_goes(project: Path) -> None:
    """Public keys, examples, source code and data are no credentials."""
    names = [
        "id_rsa.pub",
        ".env.example",
        "credentials.py",
        "passphrase.py",
        "keys.py",
        "data.json",
        "token.txt",
    ]
    make(project, dict.fromkeys(names, '{"key": "value"}'))
    assert sorted(select(project).files) == sorted(names)


def test_links_that_leave_and_pipes_stay(project: Path, tmp_path: Path) -> None:
    """They could not be unpacked; no ignore file can take them along."""
    (tmp_path / "data").mkdir()
    (project / "data").symlink_to(tmp_path / "data")
    (project / "up").symlink_to("../data")
    os.mkfifo(project / "pipe")
    make(project, {".studioignore": "!data\n!up\n!pipe\n"})
    found = select(project)
    assert list(found.files) == [".studioignore"]
    assert reasons(found) == {
        "data": f"it is a link to {tmp_path / 'data'}, outside the workspace",
        "pipe": "it is no file, directory or link",
        "up": "it is a link to ../data, outside the workspace",
    }
