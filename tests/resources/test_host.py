"""What the machine may give: this one, and others made of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.errors import Misconfigured
from runner.model import Allocation, Bytes, Capacity, Gpu
from runner.resources.base import HostProbe
from runner.resources.caps import caps
from runner.resources.host import MachineProbe, default_floor, disk_complaint
from tests.contracts.resources import HostProbeContract

GIB = 1 << 30


class TestMachineProbe(HostProbeContract):
    """The machine that runs this test."""

    @pytest.fixture
    def probe(self, tmp_path: Path) -> HostProbe:
        """Measure here."""
        return MachineProbe(tmp_path)


def machine(root: Path, *, total: int, available: int | None, limit: int | None = None) -> Path:
    """Write a machine with this much memory, in GiB, and return its root."""
    (root / "proc/self").mkdir(parents=True)
    lines = [f"MemTotal: {total * GIB // 1024} kB", "HugePages_Total: 0"]
    if available is not None:
        lines.append(f"MemAvailable: {available * GIB // 1024} kB")
    (root / "proc/meminfo").write_text("\n".join(lines) + "\n")
    if limit is not None:
        (root / "proc/self/cgroup").write_text("0::/\n")
        (root / "proc/self/mountinfo").write_text("1 1 0:1 / /groups rw - cgroup2 none rw\n")
        (root / "groups").mkdir()
        (root / "groups/memory.max").write_text(str(limit * GIB))
        (root / "groups/cpu.max").write_text("50000 100000")
    return root


@pytest.mark.parametrize(
    ("total", "available", "limit", "expected"),
    [
        (32, 20, None, 19),
        (32, None, None, 31),
        (32, 20, 10, 9),
        (32, 20, 25, 19),
        (2, 2, None, 1.5),
    ],
)
def test_memory_is_what_is_free_less_a_margin(
    tmp_path: Path, total: int, available: int | None, limit: int | None, expected: float
) -> None:
    """The smallest of available memory and limit counts; the margin never eats a small machine."""
    root = machine(tmp_path, total=total, available=available, limit=limit)
    capacity = MachineProbe(tmp_path, root=root, margin=Bytes(GIB)).capacity()
    assert capacity.memory == expected * GIB


def test_adopted_runs_count_as_free(tmp_path: Path) -> None:
    """What a run from before the restart uses is ours to give when it ends, up to all there is."""
    root = machine(tmp_path, total=32, available=4)
    held = Allocation(1, Bytes(20 * GIB), Bytes(GIB))
    probe = MachineProbe(tmp_path, root=root, held=(held,), margin=Bytes(0))
    assert probe.capacity().memory == 24 * GIB
    probe = MachineProbe(tmp_path, root=root, held=(held, held), margin=Bytes(0))
    assert probe.capacity().memory == 32 * GIB


def test_a_fraction_of_a_core_is_a_core(tmp_path: Path) -> None:
    """A container with half a core still runs experiments, one at a time."""
    root = machine(tmp_path, total=8, available=8, limit=8)
    assert MachineProbe(tmp_path, root=root).capacity().cores == 1


def test_cores_are_those_this_process_may_use(tmp_path: Path) -> None:
    """A machine without quotas gives the cores of our affinity, not all that it has."""
    root = machine(tmp_path, total=8, available=8)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert MachineProbe(tmp_path, root=root).capacity().cores == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert MachineProbe(tmp_path, root=root).capacity().cores == len(allowed)


def test_disk_keeps_a_reserve(tmp_path: Path) -> None:
    """Experiments get 85 % of what is free where they work; others write here too meanwhile."""
    found = os.statvfs(tmp_path)
    given, free = MachineProbe(tmp_path).capacity().disk, found.f_bavail * found.f_frsize
    assert 0.8 * free < given < 0.9 * free


@pytest.mark.parametrize("text", ["", "MemTotal: much\n", "MemTotal:\n", "MemFree: 1 kB\n"])
def test_unreadable_memory_stops_the_start(tmp_path: Path, text: str) -> None:
    """A machine that does not say how much memory it has is the operator's to mend."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(text)
    with pytest.raises(Misconfigured, match="how much memory"):
        MachineProbe(tmp_path, root=tmp_path).capacity()


def test_a_missing_working_directory_stops_the_start(tmp_path: Path) -> None:
    """The sentence names the directory and the option."""
    with pytest.raises(Misconfigured, match=r"none cannot be used.*--working-dir"):
        MachineProbe(tmp_path / "none").capacity()


def test_low_disk_is_said_with_figures(tmp_path: Path) -> None:
    """Below the floor the sentence gives what is free, the floor and the remedy."""
    probe = MachineProbe(tmp_path, floor=lambda total: Bytes(2 * total))
    assert "less than the floor of" in probe.disk_is_low()
    assert "--min-free-disk" in probe.disk_is_low()
    assert probe.disk_shortage() > 0


def test_a_full_disk_of_the_records_is_low_too(tmp_path: Path) -> None:
    """A state directory that cannot be used accepts nothing, wherever experiments work."""
    state = tmp_path / "state"
    probe = MachineProbe(tmp_path, floor=lambda _: Bytes(0), state_dir=state)
    assert str(state) in probe.disk_is_low()
    state.mkdir()
    assert probe.disk_is_low() == ""


@pytest.mark.parametrize(
    ("files", "left", "flags", "said"),
    [
        (4000, 41, 0, ""),
        (4000, 39, 0, "only 39 more files"),
        (10_000_000, 1000, 0, ""),
        (10_000_000, 999, 0, "only 999 more files"),
        (0, 0, 0, ""),  # btrfs counts none
        (4000, 41, os.ST_RDONLY, "read-only"),
    ],
)
def test_a_disk_with_space_that_takes_no_file_is_low(
    tmp_path: Path, files: int, left: int, flags: int, said: str
) -> None:
    """Where nothing can be written, nothing is claimed, however much space is free."""
    found = os.statvfs_result((4096, 4096, 9**9, 9**9, 9**9, files, left, left, flags, 255))
    complaint = disk_complaint(tmp_path, found)
    assert said in complaint
    assert bool(complaint) == bool(said)


def test_caches_are_asked_before_the_floor_is_reached(tmp_path: Path) -> None:
    """Between one and two floors of free space claims go on, and there is a shortage."""
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    probe = MachineProbe(tmp_path, floor=lambda _: Bytes(free * 2 // 3))
    assert probe.disk_is_low() == ""
    assert probe.disk_shortage() > 0
    assert MachineProbe(tmp_path, floor=lambda _: Bytes(0)).disk_is_low() == ""


def test_a_vanished_working_directory_is_low_disk(tmp_path: Path) -> None:
    """A disk that went away while the daemon runs stops the claiming, not the daemon."""
    assert "cannot be used" in MachineProbe(tmp_path / "none").disk_is_low()


def test_the_floor_is_the_smaller_of_a_share_and_a_size() -> None:
    """Small disks keep 5 % free, large ones 5 GiB."""
    assert default_floor(Bytes(20 * GIB)) == GIB
    assert default_floor(Bytes(4000 * GIB)) == 5 * GIB


HERE = Capacity(4, Bytes(100), Bytes(1000), (Gpu("GPU-1", "card", Bytes(1)),))


def test_no_bound_changes_nothing() -> None:
    """Zero means all there is."""
    assert caps(HERE).capacity == HERE


def test_bounds_lower_what_is_given() -> None:
    """Each bound holds for its own field, and the cards stay."""
    capped = caps(HERE, max_cores=2, max_mem=Bytes(50), max_disk=Bytes(999))
    assert capped.capacity == Capacity(2, Bytes(50), Bytes(999), HERE.gpus)
    assert capped.warnings == ()


def test_a_bound_beyond_the_machine_is_a_warning() -> None:
    """The machine's own measure counts, and the sentence names option and both figures."""
    capped = caps(HERE, max_cores=64)
    assert capped.capacity == HERE
    assert capped.warnings == (
        "--max-cores is 64, and only 4 can be given here: the smaller one counts",
    )
