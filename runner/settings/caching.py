"""Options about the artifact cache."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import ClassVar

from runner.model import Bytes
from runner.settings import kinds
from runner.settings.option import group, option
from runner.settings.places import Places

_SHARE = 0.2
#: Where nothing tells how large the disk is.
_FALLBACK = "10gb"


def _directory(places: Places) -> str:
    return str(places.values["state_dir"] / "cache")


def _size(places: Places) -> str:
    """Return a share of the disk, in whole megabytes."""
    directory: Path | None = places.values["cache_dir"]
    with contextlib.suppress(OSError):
        for there in (directory, *directory.parents) if directory else ():
            if there.exists():
                return f"{int(shutil.disk_usage(there).total * _SHARE) // 10**6}mb"
    return _FALLBACK


@group
class CacheOptions:
    """What is kept of immutable artifacts."""

    GROUP: ClassVar = "The artifact cache"

    cache_dir: Path | None = option(
        kinds.OPTIONAL_PATH,
        _directory,
        "where immutable artifacts are kept; several runners of one user may share it; "
        "empty means nowhere",
        shown_default="cache in --state-dir",
    )
    cache_size: Bytes = option(
        kinds.SIZE,
        _size,
        "the artifact cache never takes more of the disk; 0 means no cache",
        shown_default="20 % of the disk that --cache-dir lies on",
    )
    cache_create: bool = option(
        kinds.FLAG, "false", "remove the artifact cache at the end; it is made in any case"
    )
