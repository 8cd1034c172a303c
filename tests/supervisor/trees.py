"""Trees of control groups that only look like those of a kernel."""

from __future__ import annotations

from pathlib import Path

_V1 = "26 25 0:2{n} {top} {point} rw - cgroup cgroup rw,{controllers}\n"
_V2 = "35 25 0:31 {top} {point} rw - cgroup2 cgroup2 rw\n"
_FILES = ("cgroup.procs", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
_MORE = ("cpu.max", "cpu.weight", "cgroup.kill", "cgroup.subtree_control")


def v1(root: Path, **groups: str) -> None:
    """Mount a tree for each controller, and be in the group that is named."""
    mounts, own = "", ""
    for number, (controllers, group) in enumerate(groups.items(), 1):
        names = controllers.replace("_", ",")
        point = f"/sys/fs/cgroup/{names}"
        mounts += _V1.format(n=number, top="/", point=point, controllers=names)
        own += f"{number}:{names}:{group}\n"
        (root / point.lstrip("/") / group.lstrip("/")).mkdir(parents=True)
    _proc(root, mounts, own)


def v2(
    root: Path,
    group: str,
    controllers: str = "cpu memory pids",
    *,
    top: str = "/",
    seen: str | None = None,
) -> Path:
    """Mount the one tree, and be in the group; ``seen`` is where it is below the mount point."""
    point = root / "sys/fs/cgroup"
    directory = point / (group if seen is None else seen).lstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    fill(directory)
    (directory / "cgroup.controllers").write_text(f"{controllers}\n")
    (directory / "cgroup.type").write_text("domain\n")
    _proc(root, _V2.format(top=top, point="/sys/fs/cgroup"), f"0::{group}\n")
    return directory


def fill(directory: Path) -> None:
    """Give a directory the files that the kernel would give it."""
    directory.mkdir(exist_ok=True)
    for name in (*_FILES, *_MORE):
        (directory / name).write_text("")


def _proc(root: Path, mounts: str, own: str) -> None:
    place = root / "proc/self"
    place.mkdir(parents=True, exist_ok=True)
    (place / "mountinfo").write_text(mounts)
    (place / "cgroup").write_text(own)
