"""Removes trees that ``unpack`` made, and looks into directories that may be gone."""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import HostFault
from runner.removal import remove_quickly


def remove(root: Path) -> None:
    """Remove a tree; what is already gone is fine. Blocks. Raises OSError for what stays."""
    try:
        remove_quickly(root)
    except HostFault as error:
        raise OSError(str(error)) from error


def names(folder: Path) -> list[str]:
    """Return the names in a directory; none in one that is not there."""
    try:
        with os.scandir(folder) as found:
            return [one.name for one in found]
    except FileNotFoundError:
        return []
