"""The daemon's directories: what names them stays, whatever happened to its file."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from runner.app import places
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.lifecycle.runs.record import Records
from runner.settings import Settings


def settings(root: Path) -> Settings:
    """Return those of a daemon with directories below ``root``."""
    words = ["--state-dir", str(root / "state"), "--working-dir", str(root / "work")]
    return Settings.load([*words, "--allow-root-experiments"], {})


def owner(root: Path) -> str:
    """Return what a daemon's claims would be signed with."""
    with places.opened(settings(root), Locks()) as opened:
        return opened.owner


def test_a_state_directory_has_one_name_for_ever(tmp_path: Path) -> None:
    """And nobody else reads it."""
    first = owner(tmp_path)
    assert first
    assert owner(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "state" / "owner").stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [b"", b"\n", bytes(8), b"\xff\xfe\x00\x81"])
def test_a_name_that_was_never_written_is_made_anew(tmp_path: Path, left: bytes) -> None:
    """Two daemons without a name would take each other's claims for their own."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "owner").write_bytes(left)
    first = owner(tmp_path)
    assert first.isalnum()
    assert owner(tmp_path) == first


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


_PUT: Mapping[str, Callable[[Path], None]] = {
    "directory": Path.mkdir,
    "pipe": os.mkfifo,
    "loop": _loop,
}


@pytest.mark.parametrize("name", ["lock", "owner"])
@pytest.mark.parametrize("kind", ["directory", "pipe", "loop"])
def test_what_is_in_the_way_is_named(tmp_path: Path, name: str, kind: str) -> None:
    """In one sentence, and nobody waits for a pipe; a lock may be one."""
    state = tmp_path / "state"
    state.mkdir()
    place = state / name
    _PUT[kind](place)
    if (name, kind) == ("lock", "pipe"):
        assert owner(tmp_path)
        return
    with pytest.raises(Misconfigured, match=f"--state-dir .* cannot be used: {place}: "):
        owner(tmp_path)


def test_a_directory_that_is_no_directory_is_named(tmp_path: Path) -> None:
    """Whichever it is; trouble elsewhere is none of the state directory's."""
    (tmp_path / "runs").touch()
    said = "/runs: File exists; see what it is"
    with pytest.raises(Misconfigured, match=said), places.usable(tmp_path):
        Records(tmp_path / "runs")
    with pytest.raises(FileNotFoundError), places.usable(tmp_path / "state"):
        (tmp_path / "elsewhere").stat()


@pytest.mark.parametrize("is_put_back", [False, True])
def test_a_state_directory_that_is_removed_is_ours_no_more(
    tmp_path: Path, *, is_put_back: bool
) -> None:
    """Its lock went with it: in the one that is put back another daemon may begin at once."""
    with places.opened(settings(tmp_path), Locks()) as opened:
        assert opened.trouble() == ""
        shutil.rmtree(tmp_path / "state")
        if is_put_back:
            (tmp_path / "state").mkdir()
            (tmp_path / "state" / "lock").touch()
        assert "was removed or replaced while the daemon runs" in opened.trouble()
