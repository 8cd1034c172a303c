"""Key files are hidden with the directory that is theirs: one that is replaced leaves its cover.

A cover lies on the file that was there when a run began. Whoever writes the file anew puts another
one into its place, as editors, Kubernetes and those who rotate keys do, and nothing covers that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

#: By this link the mounted keys of a Secret or ConfigMap are replaced, all at once.
_VOLUME = "..data"


def with_folders(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths without links, and before the files among them directories of their own.

    Such is one that holds nothing that is not among the paths, and a mounted volume.
    """
    named = tuple(paths)
    real = dict.fromkeys(Path(os.path.realpath(path)) for path in named)
    volumes = (path.parent for path in named if _is_volume(path.parent))
    folders = {path.parent for path in real if path.is_file()}
    own = (folder for folder in sorted(folders) if _holds_only(folder, real))
    found = (*(Path(os.path.realpath(folder)) for folder in volumes), *own, *real)
    return tuple(dict.fromkeys(found))


def _is_volume(folder: Path) -> bool:
    return os.path.islink(folder / _VOLUME)  # noqa: PTH114 - Path's raises where we may not look


def _holds_only(folder: Path, paths: Iterable[Path]) -> bool:
    try:
        return all(Path(os.path.realpath(entry)) in paths for entry in folder.iterdir())
    except OSError:
        return False  # who cannot look does not know
