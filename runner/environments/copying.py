"""A program of ours for those who cannot run it where it was installed."""

from __future__ import annotations

import shutil
from pathlib import Path


def copied(program: Path, copy: Path) -> Path:
    """Return the copy, made when it is not there or is another one; blocks."""
    if not copy.exists() or copy.stat().st_size != program.stat().st_size:
        copy.parent.mkdir(mode=0o755, exist_ok=True)
        new = copy.with_suffix(".new")
        shutil.copyfile(program, new)
        new.chmod(0o755)
        new.replace(copy)
    return copy
