"""A machine short of memory is seen in time, and one run gives way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.supervisor import records
from runner.supervisor.bounds import _pause, shown
from runner.supervisor.shortage import Machine, Rivals

GIB = 1 << 30


def machine(root: Path, *, total: int, available: int) -> Machine:
    """Give a machine so large."""
    (root / "proc").mkdir(exist_ok=True)
    text = f"MemTotal: {total // 1024} kB\nMemAvailable: {available // 1024} kB\n"
    (root / "proc/meminfo").write_text(text)
    group = root / "sys/fs/cgroup/memory/a/b"
    group.mkdir(parents=True, exist_ok=True)
    return Machine((str(group), True), str(root))


def test_a_machine_keeps_a_margin(tmp_path: Path) -> None:
    """Of a large one so much, of a small one a share."""
    assert machine(tmp_path, total=64 * GIB, available=GIB).danger == GIB // 4
    assert machine(tmp_path, total=GIB, available=GIB).danger == GIB // 16


def test_what_is_available_is_the_machines(tmp_path: Path) -> None:
    """The kernel's own word for it, caches included."""
    assert machine(tmp_path, total=64 * GIB, available=3 * GIB).available() == 3 * GIB


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    """Its use less the cache that it could give back, also where a group above has the limit."""
    above = tmp_path / "sys/fs/cgroup/memory/a"
    above.mkdir(parents=True)
    (above / "memory.limit_in_bytes").write_text(f"{2 * GIB}\n")
    (above / "memory.usage_in_bytes").write_text(f"{GIB + 300}\n")
    (above / "memory.stat").write_text("cache 999\ntotal_inactive_file 300\n")
    group = above / "b"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    found = machine(tmp_path, total=64 * GIB, available=60 * GIB)
    assert found.available() == GIB
    assert found.danger == 2 * GIB // 16


def rivals(root: Path, *names: str) -> list[Rivals]:
    """Give runs side by side."""
    for name in names:
        (root / name).mkdir()
    return [Rivals(os.fsencode(root / name)) for name in names]


def test_the_run_that_took_most_beyond_its_booking_is_first(tmp_path: Path) -> None:
    """They learn of each other before one of them goes."""
    small, large = rivals(tmp_path, "a", "b")
    assert not large.is_first(100)
    assert not small.is_first(50)
    assert large.is_first(100)
    assert not small.is_first(50)


def test_what_was_said_long_ago_counts_no_more(tmp_path: Path) -> None:
    """A run that has ended, or come down since, keeps nobody from being the first."""
    (one,) = rivals(tmp_path, "a")
    (tmp_path / "b").mkdir()
    records.write(os.fsencode(tmp_path / "b"), records.EXCESS, b"1000 -60.0\n")
    assert not one.is_first(50)
    assert one.is_first(50)


def test_a_full_disk_keeps_nobody_from_giving_way(tmp_path: Path) -> None:
    """Where others cannot be asked, each that is far above goes."""
    assert Rivals(os.fsencode(tmp_path / "gone")).is_first(1)


@pytest.mark.parametrize(
    ("left", "seconds"), [(None, 1.0), (8 * GIB, 1.0), (2_000_000_000, 0.5), (0, 0.05), (-5, 0.05)]
)
def test_the_next_look_comes_before_all_is_used_up(left: int | None, seconds: float) -> None:
    """Often near the bound, seldom far below it."""
    assert _pause(left) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999_600, "1 MB"),
        (2_000_000_000, "2 GB"),
        (2_146_000_000, "2.15 GB"),
        (64_000_000_000, "64 GB"),
        (999_900_000_000_000, "1e+03 TB"),
    ],
)
def test_sizes_are_told_as_people_ask_for_them(size: int, text: str) -> None:
    """In decimal units, three digits at most."""
    assert shown(size) == text
