"""Failed workspaces are kept in room that nobody needs, and for as long as was said."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import structlog.testing

from runner.errors import HostFault
from runner.lifecycle.runs.kept import Kept, Remnant, remnants
from runner.model import Bytes

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


class Disk:
    """What the disk lacks."""

    missing = Bytes(0)


def keeper(root: Path, disk: Disk | None = None, span: timedelta = HOUR) -> Kept:
    """Return what keeps workspaces below ``root``."""
    found = disk or Disk()
    return Kept(root / "kept", span, lambda: found.missing)


async def keep(kept: Kept, name: str, *, age: float = 0.0, size: int = 0) -> Path:
    """Keep a workspace that failed so long ago."""
    workspace = kept.root.parent / f"workspace of {name}"
    workspace.mkdir(mode=0o711)
    (workspace / "file").write_bytes(b"x" * size)
    place = kept.place_for(name)
    assert place is not None
    ended = time.time() - age
    await kept.keep(workspace, Remnant(name, "p", "q", 1, "exit", "", ended, str(place)))
    assert not workspace.exists()
    return place


async def test_nothing_is_kept_without_a_time_or_without_room(tmp_path: Path) -> None:
    """The disk's floor is nobody's to fill."""
    disk = Disk()
    assert keeper(tmp_path, span=timedelta(0)).place_for("run") is None
    kept = keeper(tmp_path, disk)
    assert kept.place_for("run") == tmp_path / "kept" / "run"
    disk.missing = Bytes(1)
    assert kept.place_for("run") is None


async def test_the_oldest_makes_room_first(tmp_path: Path) -> None:
    """As many as are needed go, and the others stay."""
    kept = keeper(tmp_path)
    await keep(kept, "new", age=1, size=1 << 20)
    await keep(kept, "old", age=3, size=1 << 20)
    await keep(kept, "middle", age=2, size=1 << 20)
    assert [one.key for one in kept.remnants()] == ["old", "middle", "new"]
    await kept.give_way(Bytes(1))
    assert [one.key for one in kept.remnants()] == ["middle", "new"]
    await kept.give_way(Bytes(3 << 19))
    assert kept.remnants() == []
    assert list(kept.root.iterdir()) == []


async def test_what_is_due_goes_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    """A shorter time counts for what was kept before; one from the future is no one's."""
    kept = keeper(tmp_path)
    await keep(kept, "fresh")
    await keep(kept, "hour", age=3599)
    await keep(kept, "future", age=-7200)
    await kept.expire(time.time())
    assert [one.key for one in kept.remnants()] == ["hour", "fresh"]
    await keeper(tmp_path, span=timedelta(minutes=1)).expire(time.time())
    assert [one.key for one in kept.remnants()] == ["fresh"]


async def test_what_a_dead_daemon_left_half_done_goes(tmp_path: Path) -> None:
    """A directory without its note, a note without its directory, a note that cannot be read."""
    disk = Disk()
    kept = keeper(tmp_path, disk)
    place = await keep(kept, "whole")
    (kept.root / "bare").mkdir()
    (kept.root / "gone.json").write_text("{}")
    (kept.root / "torn").mkdir()
    (kept.root / "torn.json").write_text('{"key": "to')
    (kept.root / "other").mkdir()
    (kept.root / "other.json").write_text(json.dumps({"colour": "blue"}))
    async with anyio.create_task_group() as group:
        group.start_soon(kept.look_after)
        with anyio.fail_after(60):
            while len(list(kept.root.iterdir())) > 2:  # noqa: ASYNC110 - a directory tells nobody
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert [one.path for one in remnants(kept.root)] == [str(place)]


async def test_what_cannot_be_kept_says_so(tmp_path: Path) -> None:
    """A workspace that is gone is no reason to fail of anything else."""
    kept = keeper(tmp_path)
    place = kept.place_for("run")
    assert place is not None
    remnant = Remnant("k", "p", "q", 1, "exit", "", time.time(), str(place))
    with pytest.raises(HostFault, match="cannot be kept"):
        await kept.keep(tmp_path / "nothing", remnant)
    assert kept.remnants() == []
    assert list(kept.root.iterdir()) == []


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Return a directory that can be moved and not removed: something is mounted in it."""
    place = tmp_path / "mounted"
    (place / "inside").mkdir(parents=True)
    mount = ("mount", "-t", "tmpfs", "tmpfs", str(place / "inside"))
    if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=-3).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    (inside,) = tmp_path.rglob("inside")
    subprocess.run(("umount", str(inside)), check=True)  # noqa: S607 - wherever it is


def move(what: Path, into: Path) -> None:
    """Move a directory into another one."""
    what.rename(into / what.name)


async def test_what_resists_keeps_nothing_else(tmp_path: Path, mounted: Path) -> None:
    """It is said once, however often it is tried; what is younger goes in its time."""
    kept = keeper(tmp_path)
    stuck = await keep(kept, "stuck", age=3700)
    move(mounted, stuck)
    due = await keep(kept, "due", age=3650)
    with structlog.testing.capture_logs() as logs:
        await kept.expire(time.time())
        await kept.expire(time.time())
        await kept.give_way(Bytes(1))
    assert (stuck.exists(), due.exists()) == (True, False)
    warnings = [one["trouble"] for one in logs if one["log_level"] == "warning"]
    assert len(warnings) == 1
    assert str(stuck) in warnings[0]


async def test_a_note_of_a_later_version_is_read_and_one_that_makes_no_sense_is_not(
    tmp_path: Path,
) -> None:
    """Who goes back a version keeps what is kept; a time that is none ends no daemon."""
    kept = keeper(tmp_path)
    later, wrong = await keep(kept, "later"), await keep(kept, "wrong")
    for place, changes in ((later, {"colour": "blue"}), (wrong, {"ended": "soon"})):
        note = place.with_name(f"{place.name}.json")
        note.write_text(json.dumps({**json.loads(note.read_text()), **changes}))
    assert [one.key for one in kept.remnants()] == ["later"]
