"""What is tried is tried in directories that are gone afterwards, whoever was killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from runner.app import scratch

_LONG_AGO = time.time() - 3600


def _age(path: Path) -> None:
    os.utime(path, (_LONG_AGO, _LONG_AGO))


def test_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    """With all that is in it; what is held, was just made, or is called otherwise stays."""
    left, young, other = (tmp_path / name for name in (".doctor-1", ".doctor-2", ".other-3"))
    for path in (left, young, other):
        (path / "run").mkdir(parents=True)
    (tmp_path / ".doctor-link").symlink_to(other)
    (tmp_path / ".doctor-file").touch()
    with scratch.held(tmp_path) as held:
        for path in (left, other, held):
            _age(path)
        assert scratch.sweep(tmp_path) == [left]
        assert held.exists()
        assert held.stat().st_mode & 0o777 == 0o711
    assert not held.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".doctor-2",
        ".doctor-file",
        ".doctor-link",
        ".other-3",
    ]
    assert (other / "run").exists()


def test_a_place_that_is_not_there_has_nothing_left(tmp_path: Path) -> None:
    """As before the first start."""
    assert scratch.sweep(tmp_path / "nowhere") == []
