"""Options about Python environments."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from runner.model import Bytes
from runner.settings import kinds
from runner.settings.option import group, option


@group
class EnvironmentOptions:
    """How requirements become environments, and how many of them are kept."""

    GROUP: ClassVar = "Environments"

    default_python: str = option(
        kinds.TEXT,
        "",
        "Python of experiments that ask for none: a version or a path; "
        "empty means the runner's own version",
    )
    allow_python_downloads: bool = option(
        kinds.FLAG, "false", "let the installer download a Python that this machine does not have"
    )
    index_url: str = option(
        kinds.ADDRESS, "", "package index; empty means the installer's own", file_form=True
    )
    extra_index_url: tuple[str, ...] = option(
        kinds.ADDRESS, "", "further package index", repeatable=True, file_form=True
    )
    find_links: tuple[str, ...] = option(
        kinds.ADDRESS, "", "directory or page with packages", repeatable=True
    )
    no_index: bool = option(kinds.FLAG, "false", "install from --find-links alone")
    torch_backend: str = option(
        kinds.TEXT, "auto", "which builds of PyTorch are installed: auto, cpu, cu126 …"
    )
    base_environment: Path | None = option(
        kinds.OPTIONAL_PATH, "", "environment whose packages every experiment sees beneath its own"
    )
    environment_cache_size: Bytes = option(
        kinds.SIZE,
        "30gib",
        "built environments are kept below this size, unused ones go first; the installer's "
        "downloads below half of it",
    )
    max_environment_size: Bytes = option(
        kinds.SIZE,
        "30gib",
        "a build that writes more, its downloads included, is ended; 0 means no bound",
    )
    resolve_ttl: timedelta = option(
        kinds.DURATION, "24h", "how long the resolution of requirements without pins is reused"
    )
