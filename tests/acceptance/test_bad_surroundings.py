"""Disks that are full and queue roots that cannot be used: the daemon says so and goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
#: Fills the disk to the last byte, waits for its neighbour to suffer, and fails.
FILL = (
    "import pathlib, time\n"
    "with open('ballast', 'wb', buffering=0) as file:\n"
    "    try:\n"
    "        while True:\n"
    "            file.write(bytes(1 << 16))\n"
    "    except OSError as error:\n"
    "        trouble = error\n"
    "    pathlib.Path('{full}').touch()\n"
    "    while not pathlib.Path('{felt}').exists():\n"
    "        time.sleep(0.05)\n"
    "    print('the disk is full' * 100_000)\n"
    "    raise trouble\n"
)
SUFFER = (
    "import pathlib, time\n"
    "while not pathlib.Path('{full}').exists():\n"
    "    time.sleep(0.05)\n"
    "print('lost' * 100_000, flush=True)\n"
    "pathlib.Path('{felt}').touch()\n"
)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def _in_mounts_of_its_own(command: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", f'{command} && exec "$@"', "sh"]


def _start_on_a_small_disk(box: Box, *options: str) -> None:
    """Start the daemon with 200 MB for state and work, and look at the box as it sees it."""
    box.state.mkdir()
    mount = f"mount -t tmpfs -o size=200m tmpfs '{box.state}'"
    daemon = box.start(*options, wrapper=_in_mounts_of_its_own(mount))
    box.state = Path(f"/proc/{daemon.pid}/root{box.state}")
    assert box.outcome(box.submit("print('an environment is built')"))["cause"] == "completed"


@needs_root
def test_a_full_disk_costs_who_filled_it_and_no_neighbour(box: Box) -> None:
    """The one fails with a cause that says disk; the other's result is stored; both leave."""
    _start_on_a_small_disk(box, "--min-free-disk", "1%,1mib")
    signs = {"full": box.root / "full", "felt": box.root / "felt"}
    neighbour = box.submit(SUFFER.format(**signs))
    # It asks for memory, which this disk is, and for no disk: else it is ended before that is full.
    needs = {"cpus": 1, "gpus": 0, "ram": "1gb"}
    message = box.message(FILL.format(**signs), resources_needed=needs)
    message["config"]["runner"] = {"max_attempts": 1}
    filler = box.publish(message)
    outcome = box.outcome(filler)
    assert outcome["cause"] == "out-of-disk"
    assert box.ended(filler)["settled"] == "buried"
    assert (box.outcome(neighbour)["cause"], box.outcome(neighbour)["attempt"]) == ("completed", 1)
    after = box.submit("print('here')")
    assert box.outcome(after)["cause"] == "completed"
    assert box.output(after) == "here\n"
    box.wait_until_clean()
    assert box.complaints() == []


@needs_root
def test_nothing_is_claimed_below_the_floor(box: Box) -> None:
    """The message keeps waiting, the log says why and what to do; with space it is taken."""
    _start_on_a_small_disk(box, "--min-free-disk", "50%,1gib")
    ballast = box.state / "ballast"
    ballast.write_bytes(bytes(100 << 20))
    first = box.submit("print('maybe')")  # for this one there was room already
    until(lambda: "nothing is claimed" in box.log() or None, "the complaint", box.log)
    key = box.submit("print('later')")
    time.sleep(1)
    assert "less than the floor" in box.log()
    assert "--min-free-disk" in box.log()
    assert box.claim(key) is None
    ballast.unlink()
    for waiting in (first, key):
        assert box.outcome(waiting)["cause"] == "completed"
    assert box.complaints() == []


def test_a_queue_root_that_cannot_be_made_is_waited_for(box: Box) -> None:
    """The daemon starts, names the path and what it needs, and serves it once it is there."""
    way = box.root / "way"
    way.touch()
    box.queues = way / "queues"
    box.start("--queue-root", str(box.queues))
    said = f"the local queues below {box.queues} cannot be used: Not a directory"
    until(lambda: said in box.log() or None, "the complaint", box.log)
    way.unlink()
    (box.queues / "local_test").mkdir(parents=True)
    assert box.outcome(box.submit("print('here')"))["cause"] == "completed"
    assert box.complaints() == []


@needs_root
def test_a_queue_root_that_cannot_be_written_is_named(box: Box) -> None:
    """Nothing is taken from it, and the daemon lives and can be drained."""
    mount = f"mount --bind '{box.queues}' '{box.queues}'"
    daemon = box.start(
        wrapper=_in_mounts_of_its_own(f"{mount} && mount -o remount,bind,ro '{box.queues}'")
    )
    box.submit("print('never')")
    said = f"the local queues below {box.queues} cannot be used: Read-only file system"
    until(lambda: said in box.log() or None, "the complaint", box.log)
    assert len(box.waiting()) == 1
    assert box.drain(daemon) == 0
    assert box.complaints() == []
