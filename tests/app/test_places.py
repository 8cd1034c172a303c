"""The daemon's directories: what names them stays, whatever happened to its file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runner.app import places
from runner.handover import Locks
from runner.settings import Settings


def owner(root: Path) -> str:
    """Return what a daemon's claims would be signed with."""
    words = ["--state-dir", str(root / "state"), "--working-dir", str(root / "work")]
    settings = Settings.load([*words, "--allow-root-experiments"], {})
    with places.opened(settings, Locks()) as opened:
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
