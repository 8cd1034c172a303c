"""Links on their way out: written so that they stay inside the directory wherever it lands."""

from __future__ import annotations

import os
from pathlib import Path

from runner.archives.names import is_winding, stays_inside


def portable_target(root: Path, name: str, target: str) -> str | None:
    """Return a target that ``unpack`` takes for the link ``name``, or None when it leaves ``root``.

    An absolute target below ``root`` becomes a relative one: programs like to link their latest
    checkpoint by its full path, and that path is another one in the next attempt.
    """
    if target.startswith("/"):
        path = Path(os.path.normpath(target))
        for base in (root, Path(os.path.realpath(root))):
            if path.is_relative_to(base) and path != base:
                return os.path.relpath(path, (base / name).parent)
        return None
    if not target or not stays_inside(tuple(name.split("/")), target):
        return None
    if is_winding(target):
        # What climbs after it went down may have gone down through another link.
        real = Path(os.path.realpath(root))
        goal = Path(os.path.realpath((real / name).parent / target))
        return target if goal.is_relative_to(real) else None
    return target
