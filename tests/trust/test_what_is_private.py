"""What a daemon keeps of messages is for its own eyes, whatever umask it was started with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import packed, until
from tests.trust.boxes import TrustBox, trust_box

#: The most careless start there is.
CARELESS = ("/bin/sh", "-c", 'umask 0; exec "$@"', "sh")
#: Built environments and images are for experiments to read; so are the directories of their own,
#: and of those who pull and build for them.
SHARED = ("environments", "images", "errands", "work")


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[TrustBox]:
    """A machine of its own."""
    with trust_box(request.param) as box:
        yield box


def exposed(top: Path, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what others than its owner can open below a directory, with its mode."""
    found = {}
    for folder, folders, names in os.walk(top):
        if Path(folder) == top:
            folders[:] = [name for name in folders if name not in but]
        for path in (Path(folder, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode) and _is_open(path, top):
                found[str(path)] = stat.filemode(mode)
    return found


def _is_open(path: Path, top: Path) -> bool:
    """Tell whether no directory on the way keeps others out."""
    above = [folder for folder in path.parents if folder.is_relative_to(top) and folder != top]
    return all(folder.stat().st_mode & 0o011 for folder in above)


@pytest.mark.parametrize("box", ["another user", "ordinary user", "root"], indirect=True)
def test_records_letters_and_caches_are_private(box: TrustBox) -> None:
    """While an experiment runs, and after it: 0600 in 0700 but for what experiments share."""
    box.begin("--cache-dir", str(box.root / "cache"), wrapper=CARELESS)
    go = box.root / "go"
    script = (
        f"import os, time\nprint('begun', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    )
    key = box.submit(script, workspace=packed({"train.py": script, "data": "x"}))
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    bad = box.message("")
    bad["experiment"]["filename"] = "/etc/passwd"
    box.reason(box.publish_message(bad))
    assert (box.state / "control.sock").exists()
    assert list((box.state / "runs").glob("*/record.json"))
    places = (box.state, box.root / "cache", box.queues / ".studio-runner")
    assert [exposed(place, SHARED) for place in places] == [{}, {}, {}]
    go.touch()
    assert box.outcome(key)["cause"] == "completed"
    box.wait_until_clean()
    assert [exposed(place, SHARED) for place in places] == [{}, {}, {}]
    assert stat.S_IMODE(box.state.stat().st_mode) & 0o066 == 0


@pytest.mark.parametrize("box", ["another user", "ordinary user"], indirect=True)
def test_nobody_can_change_an_environment(box: TrustBox) -> None:
    """What experiments share is written by nobody but its builder."""
    daemon = box.begin(wrapper=CARELESS)
    assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"
    box.drain(daemon)  # and with it the compiling of bytecode
    built = box.state / "environments"
    writable = [
        str(path)
        for path in built.rglob("*")
        if path.lstat().st_mode & 0o022
        and not path.is_symlink()
        # Locks are taken on files that hold nothing.
        and path.lstat().st_size > 0
        and _is_open(path, built)
    ]
    assert writable == []
