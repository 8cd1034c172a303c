"""The machine itself: the cores, memory and disk that experiments may be given."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from runner.errors import Misconfigured
from runner.model import Allocation, Bytes, Capacity
from runner.resources import cgroup
from runner.resources.base import HostProbe
from runner.resources.space import SPACE

GIB = 1 << 30

#: Kept for the daemon and for builds of environments; at most a quarter of a small machine.
MARGIN = Bytes(GIB // 2)
#: Of the space that is free at the start.
DISK_SHARE = 0.85
#: Seconds for which a look at the disk does for the next claim, too: each costs a thread.
_RECENT = 0.5
#: Caches give way before the floor is reached, when less than this many floors are free.
COMFORT = 2
#: Of the files that a disk can hold, one in so many has to be left to be made, or so many.
_SHARE_OF_FILES, _FEWEST_FILES = 100, 1000


def default_floor(total: Bytes) -> Bytes:
    """Return the free space below which nothing is claimed: 5 % or 5 GiB, the smaller."""
    return Bytes(min(total // 20, 5 * GIB))


class MachineProbe(HostProbe):
    """Measures this machine, or the container that is all we see of it.

    ``held`` is what adopted runs have: it looks used, and yet is ours to give again when they end.
    """

    def __init__(
        self,
        working_dir: Path,
        *,
        floor: Callable[[Bytes], Bytes] = default_floor,
        margin: Bytes = MARGIN,
        held: tuple[Allocation, ...] = (),
        state_dir: Path | None = None,
        root: Path = Path("/"),
    ) -> None:
        self._working_dir = working_dir
        self._floor = floor
        self._margin = margin
        self._held = held
        #: Without room for records nothing can be accepted, wherever they lie.
        self._watched = (working_dir,) if state_dir is None else (working_dir, state_dir)
        self._root = root

    def capacity(self) -> Capacity:
        """Return what may be given in all. Raises Misconfigured when that cannot be measured."""
        limits = cgroup.limits(self._root)
        cores = len(os.sched_getaffinity(0))
        if limits.cores is not None:
            cores = min(cores, max(1, int(limits.cores)))
        return Capacity(cores=cores, memory=self._memory(limits.memory), disk=self._disk())

    def disk_is_low(self) -> str:
        """Compare the free space at the working and state directories with the floor."""
        return next(filter(None, map(self._complaint, self._watched)), "")

    def disk_shortage(self) -> Bytes:
        """Return what is missing to twice the floor; nothing where that cannot be told."""
        try:
            total, free = _space(self._working_dir)
        except OSError:
            return Bytes(0)
        return Bytes(max(0, COMFORT * self._floor(total) - free))

    def disk_below_floor(self) -> Bytes:
        """Return what lacks to the floor; nothing where that cannot be told."""
        try:
            total, free = _space(self._working_dir)
        except OSError:
            return Bytes(0)
        return Bytes(max(0, self._floor(total) - free))

    def _complaint(self, place: Path) -> str:
        try:
            found = SPACE.of(place, recent=_RECENT)
        except OSError as error:
            return f"the directory {place} cannot be used: {error.strerror}"
        return disk_complaint(place, found, self._floor)

    def _memory(self, limit: Bytes | None) -> Bytes:
        known = self._meminfo()
        held = sum(allocation.memory for allocation in self._held)
        total = known["MemTotal"]
        usable = min(total, known.get("MemAvailable", total) + held)
        if limit is not None:
            usable = min(usable, limit)
        return Bytes(usable - min(self._margin, usable // 4))

    def _meminfo(self) -> dict[str, int]:
        path = self._root / "proc/meminfo"
        try:
            lines = path.read_text().splitlines()
            pairs = (line.partition(":") for line in lines)
            known = {name: int(value.split()[0]) * 1024 for name, _, value in pairs}
        except (OSError, ValueError, IndexError) as error:
            raise Misconfigured(
                f"{path} does not tell how much memory there is: {error}"
            ) from error
        if "MemTotal" not in known:
            raise Misconfigured(f"{path} does not tell how much memory there is")
        return known

    def _disk(self) -> Bytes:
        try:
            total, free = _space(self._working_dir)
        except OSError as error:
            raise Misconfigured(
                f"the working directory {self._working_dir} cannot be used: {error.strerror}; "
                "create it or name another one with --working-dir"
            ) from error
        held = sum(allocation.disk for allocation in self._held)
        return Bytes(int(min(total, free + held) * DISK_SHARE))


def disk_complaint(
    place: Path, found: os.statvfs_result, floor: Callable[[Bytes], Bytes] = default_floor
) -> str:
    """Say why nothing can be accepted with a disk of which this was ``found``; empty: it can."""
    total, free = _space_of(found)
    least = floor(total)
    if found.f_flag & os.ST_RDONLY:
        return (
            f"the file system of {place} is read-only, as the kernel makes one whose disk fails: "
            "dmesg says why; mend it, and mount it for writing"
        )
    if free < least:
        return (
            f"only {free / GIB:.1f} GiB are free at {place}, less than the floor of "
            f"{least / GIB:.1f} GiB: free some space, or lower --min-free-disk"
        )
    # Where files are not counted, as on btrfs, there are none of them.
    if found.f_favail < min(found.f_files // _SHARE_OF_FILES, _FEWEST_FILES):
        return (
            f"only {found.f_favail} more files can be made at {place}, of {found.f_files} in all "
            "(df -i): remove some"
        )
    return ""


def _space(place: Path) -> tuple[Bytes, Bytes]:
    """Return the size of a file system and what this user may still write to it."""
    return _space_of(SPACE.of(place))


def _space_of(found: os.statvfs_result) -> tuple[Bytes, Bytes]:
    return Bytes(found.f_blocks * found.f_frsize), Bytes(found.f_bavail * found.f_frsize)
