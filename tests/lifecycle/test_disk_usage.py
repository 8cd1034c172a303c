"""What a workspace takes from the disk, whoever writes to it meanwhile."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runner.lifecycle.disk.usage import Usage, measure
from runner.removal import remove_tree

MIB = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return an empty directory."""
    tree = tmp_path / "workspace"
    tree.mkdir()
    return tree


def _beyond(tree: Path, act: Callable[[], object], **more: object) -> int:
    """Return how much larger ``act`` made it, without what directories take."""
    before = measure({tree: "workspace"}).bytes
    act()
    return (measure({tree: "workspace"}, **more).bytes - before) // MIB  # type: ignore[arg-type] # of one kind


def test_blocks_count_and_holes_do_not(tree: Path) -> None:
    """A sparse file of a terabyte takes what was written to it."""

    def write() -> None:
        with (tree / "sparse").open("wb") as file:
            file.truncate(1 << 40)
            file.write(bytes(3 * MIB))
        (tree / "full").write_bytes(bytes(5 * MIB))

    assert _beyond(tree, write) == 8


def test_a_file_of_many_names_counts_once(tree: Path) -> None:
    """As on the disk."""

    def write() -> None:
        (tree / "one").write_bytes(bytes(4 * MIB))
        for number in range(5):
            os.link(tree / "one", tree / f"two-{number}")

    assert _beyond(tree, write) == 4


def test_no_link_is_followed(tree: Path, tmp_path: Path) -> None:
    """Neither to a file nor to a directory, nor around in circles."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "large").write_bytes(bytes(9 * MIB))

    def link() -> None:
        (tree / "directory").symlink_to(tmp_path / "outside")
        (tree / "file").symlink_to(tmp_path / "outside" / "large")
        (tree / "circle").symlink_to(tree)

    assert _beyond(tree, link) == 0
    assert measure({tree: "workspace"}).entries == 4


@needs_root
def test_no_other_file_system_is_entered(tree: Path) -> None:
    """What is mounted there is not on this disk."""
    script = (
        "import sys; from pathlib import Path; from runner.lifecycle.disk.usage import measure\n"
        "tree = Path(sys.argv[1]); (tree / 'memory' / 'large').write_bytes(bytes(9 << 20))\n"
        "print(measure({tree: ''}).bytes)"
    )
    (tree / "memory").mkdir()
    mount = f'mount -t tmpfs tmpfs "{tree}/memory" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", script]
    done = subprocess.run([*command, str(tree)], check=True, capture_output=True)
    assert int(done.stdout) < MIB


def test_a_very_deep_tree_takes_few_descriptors(tree: Path) -> None:
    """What lies thousands of directories down counts like anything else."""
    here = os.open(tree, os.O_RDONLY)
    depth = 5000
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(bytes(2 * MIB))
    os.close(here)
    (tree / "d" / "beside").mkdir()
    (tree / "d" / "beside" / "file").write_bytes(bytes(3 * MIB))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        found = measure({tree: "workspace"})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        remove_tree(tree)  # which pytest cannot
    assert found.entries == depth + 4
    assert {name for name, _ in found.largest[:2]} >= {"workspace/d/beside/file"}
    assert sum(size for name, size in found.largest if "…" in name) >= 2 * MIB


def test_what_it_takes_to_find_who_holds_files_is_part_of_the_look(tree: Path) -> None:
    """On a machine with thousands of processes that is most of it, and looks have their share."""

    def holders() -> Iterator[int]:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.02:
            yield 0

    assert measure({tree: "workspace"}, holders=holders).seconds >= 0.02


def test_files_without_a_name_count_while_they_are_open(tree: Path) -> None:
    """As temporary files are; what is in memory is not on the disk."""
    script = (
        "import os, sys, tempfile\n"
        "file = tempfile.TemporaryFile(dir=sys.argv[1]); file.write(bytes(6 << 20)); file.flush()\n"
        "memory = os.memfd_create('m'); os.write(memory, bytes(7 << 20))\n"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tree)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert _beyond(tree, lambda: None, holders=lambda: [process.pid]) == 6
        found = measure({tree: "workspace"}, holders=lambda: [process.pid])
        assert found.largest[0][0] == "files without a name"
        process.communicate(b"\n")
    assert _beyond(tree, lambda: None, holders=lambda: [process.pid]) == 0


def test_what_was_there_before_is_not_counted_where_that_is_asked(tree: Path) -> None:
    """Builds share their caches with builds before them."""
    (tree / "old").write_bytes(bytes(4 * MIB))
    since = (tree / "old").stat().st_ctime + 0.001
    while not (tree / "clock").exists() or (tree / "clock").stat().st_ctime < since:
        (tree / "clock").touch()  # the clock of file systems goes in steps
    (tree / "new").write_bytes(bytes(2 * MIB))
    assert measure({tree: "workspace"}, since=since).bytes // MIB == 2
    assert measure({tree: "workspace"}).bytes // MIB == 6


def test_directories_that_their_owner_closed_are_looked_into(tree: Path) -> None:
    """And are closed again: also for a daemon that is no root."""
    closed = tree / "closed"
    closed.mkdir()
    (closed / "large").write_bytes(bytes(3 * MIB))
    closed.chmod(0)
    if os.geteuid() == 0:
        for path in (tree, closed, closed / "large"):
            os.chown(path, 65534, 65534)
    pid = os.fork()
    if pid == 0:  # an ordinary user, who cannot come back
        os.chdir(tree)
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        os._exit(measure({Path(): "workspace"}).bytes // MIB)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert closed.stat().st_mode & 0o777 == 0
    closed.chmod(0o700)


def test_a_tree_that_changes_below_the_look_neither_fails_nor_counts_twice(tree: Path) -> None:
    """Directories move to and fro, files come and go: what stays is counted once."""
    for number in range(20):
        folder = tree / f"{number}" / "a" / "b"
        folder.mkdir(parents=True)
        (folder / "kept").write_bytes(bytes(MIB))
    still = threading.Event()

    def stir() -> None:
        dice = random.Random(7)  # noqa: S311 - no secret
        while not still.is_set():
            one, other = dice.sample(range(20), 2)
            for old, new in ((one, other), (other, one)):
                with suppress(OSError):
                    (tree / f"{old}" / "a").rename(tree / f"{new}" / f"a{dice.random()}")
            for place in tree.glob("*/a0*"):
                with suppress(OSError):
                    place.rename(place.with_name("a"))

    stirring = threading.Thread(target=stir)
    stirring.start()
    try:
        found = [measure({tree: "workspace"}).bytes // MIB for _ in range(100)]
    finally:
        still.set()
        stirring.join()
    assert max(found) <= 20
    assert measure({tree: "workspace"}).bytes // MIB == 20


def test_what_is_not_there_is_nothing(tree: Path) -> None:
    """A run whose workspace goes away is somebody else's trouble."""
    found = measure({tree / "gone": ""})
    assert (found.bytes, found.entries, found.largest) == (0, 0, ())


def test_a_look_can_be_stopped(tree: Path) -> None:
    """Between two directories."""

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure({tree: "workspace"}, stop)


def test_the_largest_are_named_with_directories_of_small_files_among_them(tree: Path) -> None:
    """Three of them, largest first, from the workspace on."""
    (tree / "data").mkdir()
    (tree / "data" / "large.bin").write_bytes(bytes(3 * MIB))
    (tree / "many").mkdir()
    for number in range(40):
        (tree / "many" / str(number)).write_bytes(bytes(100_000))
    for number in range(3):
        (tree / f"{number}").write_bytes(bytes(MIB))
    found: Usage = measure({tree: "workspace"})
    assert [name for name, _ in found.largest[:2]] == ["workspace/many", "workspace/data/large.bin"]
    assert len(found.largest) == 3
