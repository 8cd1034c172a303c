"""Whether this process runs in a container, where others have chosen what it may see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: The kernel gives the first namespace of processes this number, on every machine.
_FIRST = "pid:[4026531836]"
_MARKS = (".dockerenv", "run/.containerenv", "run/systemd/container")
_NAMES = ("KUBERNETES_SERVICE_HOST", "container")


def inside(variables: Mapping[str, str], *, root: Path = Path("/")) -> bool:
    """Tell by the namespace of processes, else by what container engines leave behind."""
    try:
        if str((root / "proc/self/ns/pid").readlink()) != _FIRST:
            return True
    except OSError:
        pass
    return any((root / mark).exists() for mark in _MARKS) or any(map(variables.get, _NAMES))
