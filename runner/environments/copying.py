"""A program of ours for those who cannot run it where it was installed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def copied(program: Path, copy: Path) -> Path:
    """Return the copy, made when it is not there or is another one; blocks.

    Several may make it at the same time; the last one stays. Raises OSError.
    """
    if copy.exists() and copy.stat().st_size == program.stat().st_size:
        return copy
    copy.parent.mkdir(mode=0o755, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=copy.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as target, program.open("rb") as source:
            shutil.copyfileobj(source, target)
        new.chmod(0o755)
        new.replace(copy)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return copy
