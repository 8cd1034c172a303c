"""1,000 operations by three daemons that are killed all the time: the cache keeps its promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runner
from runner.cache.base import Counts
from runner.cache.places import Places
from runner.cache.room import OVERHEAD, Room
from runner.cache.upkeep import Upkeep
from runner.model import Bytes
from tests.cache import storm

PROGRAM = Path(__file__).with_name("storm.py")
SEED = 3


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Return a disk that holds no byte more than the bound; or a directory, where none can be had.

    So the kernel itself refuses what would be too much, at every instant.
    """
    mounting = ["/bin/mount", "-t", "tmpfs", "-o", f"size={storm.LIMIT}", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(mounting, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield tmp_path, "directory"
        return
    yield tmp_path, "mount"
    subprocess.run(["/bin/umount", tmp_path], check=True)


def test_nothing_is_torn_wrong_leaked_or_too_much(place: tuple[Path, str]) -> None:
    """An observer, the disk's own bound, and every content compared whenever it is used."""
    directory, kind = place
    Places(directory).open()
    done = subprocess.run(
        [sys.executable, PROGRAM, directory, str(SEED), kind],
        env={**os.environ, "PYTHONPATH": str(Path(runner.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["trouble"] == []
    assert report["done"] >= storm.OPERATIONS
    assert report["kills"] >= storm.KILLS
    assert storm.LIMIT // 2 < report["most"] <= storm.LIMIT
    check_what_is_left(directory)


def check_what_is_left(directory: Path) -> None:
    """Look as the next daemon does: all is right, nothing is reserved, nothing half-done."""
    places = Places(directory)
    room = Room(places, storm.LIMIT, Counts())
    room.sweep()
    assert list(places.staging.iterdir()) == []
    assert list(places.reservations.iterdir()) == []
    upkeep = Upkeep(directory)
    entries = upkeep.entries()
    assert {verdict.result for verdict in upkeep.verify()} <= {"right"}
    assert {path.name for path in places.locks.iterdir()} <= {entry.key for entry in entries}
    assert upkeep.used() == OVERHEAD + sum(entry.bytes for entry in entries) <= storm.LIMIT
    upkeep.prune(Bytes(0))
    assert upkeep.used() == OVERHEAD
    assert list(places.locks.iterdir()) == []
