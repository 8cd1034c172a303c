"""Workspaces of failed experiments of another user: whole, nobody else's, and gone in time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.box import Box, packed, until
from tests.passage import open_to_all

Json = dict[str, Any]
NOBODY = 65534

#: Changes what is attached to it in every way, and fails.
CHANGES = """
import os, pathlib, shutil
data = pathlib.Path("..", "data")
with open(data / "changed.txt", "a") as file:
    file.write(" and more")
(data / "gone.txt").unlink()
(data / "new.txt").write_text("new")
shutil.rmtree(data / "folder")
(data / "folder").mkdir()
(data / "folder" / "own.txt").write_text("own")
(data / "folder").chmod(0o500)
pathlib.Path("..", "modeldir", "model.bin").write_bytes(b"x" * 100_000)
pathlib.Path("half.txt").write_text("half")
print("about to fail", flush=True)
raise SystemExit(3)
"""
FILES = {
    "changed.txt": "text",
    "gone.txt": "gone",
    "kept.txt": "kept" * (128 << 10),  # what is tiny is copied
    "folder/one.txt": "one",
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test, through which everybody may pass."""
    open_to_all(tmp_path)
    with Box(tmp_path) as box:
        yield box


def start(box: Box, *options: str) -> subprocess.Popen[bytes]:
    """Start a daemon that keeps what failed, and has a cache."""
    cache = str(box.root / "cache")
    python = "/usr/bin/python3"  # one that another user may run
    own = ("--cache-dir", cache, "--default-python", python, "--run-as", "nobody")
    return box.start(*own, "--keep-failed", "1h", *options)


def submit(box: Box, script: str = CHANGES) -> str:
    """Queue a script with an artifact that nobody changes, but for this run."""
    (box.storage / "blobstore" / "data.tar").write_bytes(packed(FILES))
    message = box.message(script)
    data = box.artifact("blobstore/data.tar", mutable=False)
    message["experiment"]["artifacts"]["data"] = data
    return box.publish(message)


def kept(box: Box) -> list[Json]:
    """Return what is kept, as status tells it."""
    command = [sys.executable, "-m", "runner", "status", "--json", "--state-dir", str(box.state)]
    done = subprocess.run(command, env=box.environ(), check=True, capture_output=True)
    return list(json.loads(done.stdout)["kept"])


def place_of(box: Box, key: str) -> Path:
    """Return where the workspace of an experiment is kept."""
    assert box.outcome(key)["cause"] == "exit", box.output(key)
    (one,) = until(
        lambda: [found for found in kept(box) if found["key"] == key] or None, "kept", box.log
    )
    return Path(one["path"])


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the user of experiments."""
    return subprocess.run(command, check=False, capture_output=True, text=True, user=NOBODY)


@pytest.mark.parametrize(
    "sandbox", ["plain", pytest.param("bwrap", marks=pytest.mark.service("bwrap"))]
)
def test_root_finds_all_that_another_user_left_and_nobody_else_may(box: Box, sandbox: str) -> None:
    """What it changed of an attached artifact lies where the run had it; in time all is gone."""
    daemon = start(box, "--sandbox", sandbox)
    place = place_of(box, submit(box))
    assert '"attached": true' in box.log()
    assert (place / "workspace" / "half.txt").read_text() == "half"
    assert "about to fail" in (place / "output" / "output").read_text()
    assert len((place / "modeldir" / "model.bin").read_bytes()) == 100_000
    data = place / "data"
    assert (data / "changed.txt").read_text() == "text and more"
    assert (data / "new.txt").read_text() == "new"
    assert (data / "folder" / "own.txt").read_text() == "own"
    assert stat.S_ISCHR((data / "gone.txt").stat().st_mode)
    assert sorted(path.name for path in data.iterdir()) == [
        "changed.txt",
        "folder",
        "gone.txt",
        "new.txt",
    ]
    assert [path.stat().st_uid for path in (place, data)] == [0, NOBODY]
    for path in (place.parent, place, place / "workspace" / "half.txt"):
        assert "Permission denied" in as_nobody("stat", f"{path}/.").stderr
    peep = f"import os; os.listdir({str(place.parent)!r})"
    peeping = box.submit(peep)
    assert box.outcome(peeping)["cause"] == "exit"
    words = ("Permission denied", "No such file or directory")
    assert any(word in box.output(peeping) for word in words), box.output(peeping)
    note = place.with_name(f"{place.name}.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    said = json.loads(note.read_text())
    note.write_text(json.dumps({**said, "ended": time.time() - 3601}))
    until(lambda: None if place.exists() or note.exists() else True, "its time", box.log)
    assert box.drain(daemon) == 0
    assert box.complaints() == []


def test_what_is_kept_counts_and_gives_room(box: Box) -> None:
    """It is measured, gives way when the disk lacks room, and without room nothing is kept."""
    daemon = start(box)
    key = submit(box)
    place = place_of(box, key)
    (one,) = kept(box)
    assert one["bytes"] > 100_000
    assert box.drain(daemon) == 0
    free = os.statvfs(box.root)
    floor = int(0.7 * free.f_bavail * free.f_frsize / 1e6)
    daemon = start(box, "--min-free-disk", f"{floor}mb")
    until(lambda: "a kept workspace made room" in box.log() or None, "room", box.log)
    assert not place.exists()
    assert box.outcome(submit(box))["cause"] == "exit"
    until(lambda: "is not kept: the disk has no room" in box.log() or None, "its end", box.log)
    box.wait_until_clean()
    assert kept(box) == []
    assert box.drain(daemon) == 0
    assert box.complaints() == []
