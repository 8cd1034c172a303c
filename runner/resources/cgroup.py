"""What the control groups above this process allow: version 1 and 2 trees read through one door."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.model import Bytes

#: Version 1 writes "no limit" as the largest number of whole pages; nobody has that much memory.
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits on the way from our group to the root; ``None`` where there is none."""

    #: Cores' worth of time per period; may be a fraction.
    cores: float | None = None
    memory: Bytes | None = None


@dataclass(frozen=True, slots=True)
class _Mount:
    """One line of ``mountinfo`` about a control group file system."""

    #: The group that is seen at the mount point; not ``/`` inside a container.
    root: PurePosixPath
    point: Path
    version: int
    #: Version 1: the controllers of this hierarchy, among other options.
    controllers: frozenset[str]


def limits(root: Path = Path("/")) -> Limits:
    """Read the limits that hold for this process; ``root`` holds ``proc`` and what is mounted."""
    cores: list[float] = []
    memory: list[int] = []
    for mount, group in _memberships(root):
        for directory in _upwards(mount, group):
            if mount.version == 2:  # noqa: PLR2004 - the kernel's own name for it
                cores += _quota(_words(directory / "cpu.max"))
                memory += _bound(_words(directory / "memory.max"))
                continue
            if "cpu" in mount.controllers:
                quota = _words(directory / "cpu.cfs_quota_us")
                cores += _quota(quota + _words(directory / "cpu.cfs_period_us"))
            if "memory" in mount.controllers:
                memory += _bound(_words(directory / "memory.limit_in_bytes"))
    return Limits(min(cores, default=None), Bytes(min(memory)) if memory else None)


def _memberships(root: Path) -> Iterator[tuple[_Mount, PurePosixPath]]:
    """Pair each hierarchy that we can see with our group in it."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, names, group = line.split(":", 2)
        controllers = frozenset(filter(None, names.split(",")))
        version = 1 if controllers else 2
        for mount in mounts:
            if mount.version == version and controllers <= mount.controllers:
                yield mount, PurePosixPath(group)


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        fields, (system, _, options, *_) = place.split(), (*kind.split(), "", "", "")
        if system in {"cgroup", "cgroup2"}:
            yield _Mount(
                root=PurePosixPath(_unescaped(fields[3])),
                point=root / _unescaped(fields[4]).lstrip("/"),
                version=2 if system == "cgroup2" else 1,
                controllers=frozenset(options.split(",")),
            )


def _upwards(mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """Yield the directories of our group and of all above it that can be seen.

    A container often sees its own group at the mount point, under a path that means nothing inside.
    """
    inside = group.relative_to(mount.root) if group.is_relative_to(mount.root) else group
    below = inside.relative_to("/") if inside.is_absolute() else inside
    for part in (below, *below.parents):
        directory = mount.point / part
        if directory.is_dir() and ".." not in part.parts:
            yield directory


def _quota(words: list[str]) -> list[float]:
    """Read quota and period; ``max`` and ``-1`` mean that there is no limit."""
    numbers = [int(word) for word in words if word.isdigit()]
    if len(words) != 2 or len(numbers) != 2 or 0 in numbers:  # noqa: PLR2004 - the pair
        return []
    return [numbers[0] / numbers[1]]


def _bound(words: list[str]) -> list[int]:
    return [int(word) for word in words[:1] if word.isdigit() and int(word) < _UNLIMITED]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # no such controller here, or none of our business
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _unescaped(field: str) -> str:
    """Undo ``mountinfo``'s octal escapes of blanks."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
