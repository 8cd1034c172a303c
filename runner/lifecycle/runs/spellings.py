"""All the paths by which a directory is reached, where some of them lead over links."""

from __future__ import annotations

import os
from pathlib import Path


def spellings(path: Path) -> tuple[Path, ...]:
    """Return ``path`` with none, some and all of its links resolved, each once.

    A directory that is covered takes the links in it away; what is put back there must have every
    name by which somebody may know it.
    """
    whole = path.absolute()
    if os.path.realpath(whole) == str(whole):  # then none of its parents is a link either
        return (whole,)
    found = [
        Path(os.path.realpath(parent)) / whole.relative_to(parent)
        for parent in (whole, *whole.parents)
    ]
    return tuple(dict.fromkeys(found))
