"""What a kept tree takes of the disk is what is counted for it."""

from __future__ import annotations

import os
from pathlib import Path

from runner.archives.footprint import INODE, of_file
from runner.cache.settling import settle


def test_holes_are_not_counted(tmp_path: Path) -> None:
    """A file of a terabyte takes what was written to it, and never less than that is counted."""
    with (tmp_path / "large").open("wb") as file:
        for place in (0, 5 << 30, 1 << 40):
            file.seek(place)
            file.write(os.urandom(5000))
    (tmp_path / "small").write_bytes(b"x" * 5000)
    counted = settle(tmp_path, None, lambda: None)
    used = sum(path.stat().st_blocks * 512 for path in (tmp_path, *tmp_path.iterdir()))
    assert used <= counted <= INODE + of_file(5000) + INODE + 3 * (5000 + 2 * 4096)
