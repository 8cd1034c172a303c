"""Removes trees that ``unpack`` made, and looks into directories that may be gone."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def remove(root: Path) -> None:
    """Remove a tree; what is already gone is fine. Blocks. Raises OSError for what stays."""
    with contextlib.suppress(FileNotFoundError):
        try:
            shutil.rmtree(root)
        except PermissionError:  # somebody closed a directory of ours
            _open_folders(root)
            shutil.rmtree(root)


def names(folder: Path) -> list[str]:
    """Return the names in a directory; none in one that is not there."""
    try:
        with os.scandir(folder) as found:
            return [one.name for one in found]
    except FileNotFoundError:
        return []


def _open_folders(root: Path) -> None:
    root.chmod(0o700)
    for _, folders, _, descriptor in os.fwalk(str(root), follow_symlinks=False):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(name, 0o700, dir_fd=descriptor, follow_symlinks=False)
