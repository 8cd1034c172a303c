"""A kept tree is copied as it is, and nothing that happens to the copy comes back to it."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from runner import blocking
from runner.lifecycle.artifacts.placing import place
from runner.removal import remove_tree
from tests.contracts.sandboxes import look
from tests.lifecycle.runs import PATIENCE, until

#: 2001-09-09, with a fraction.
STAMP = 1_000_000_000_123_456_789
#: A file system that is usually another one than that of temporary files.
SHM = Path("/dev/shm")  # noqa: S108 - see above


def never() -> None:
    """Stop nothing."""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A tree with one of everything that an archive can hold."""
    root = tmp_path / "kept"
    deep = root / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (root / "empty").mkdir(mode=0o500)
    (root / "program").write_text("#!/bin/sh\n")
    (root / "program").chmod(0o755)
    (root / "sealed").write_bytes(os.urandom(3 << 20))
    (root / "sealed").chmod(0o400)
    (root / "nothing").touch()
    (deep / "ü\n\udcff").write_text("odd")
    (root / "link").symlink_to("a/b/c")
    (root / "dangling").symlink_to("nowhere")
    (deep / "one").write_text("two names")
    os.link(deep / "one", root / "another")
    for number in range(200):
        (root / "a" / f"{number}").write_text(str(number))
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(STAMP, STAMP), follow_symlinks=False)
    return root


def seen(root: Path) -> dict[str, object]:
    """Return what a copy has in common with its original: not the inodes and their change times."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        state = path.lstat()
        content = path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        facts = (state.st_mode, state.st_mtime_ns, state.st_uid, content)
        found[str(path.relative_to(root))] = facts
    return found


def test_a_copy_is_as_the_original(tmp_path: Path, kept: Path) -> None:
    """Names, content, modes, times and links; one file with two names is again one file."""
    place(kept, tmp_path / "copy", never)
    assert seen(tmp_path / "copy") == seen(kept)
    assert (tmp_path / "copy" / "another").samefile(tmp_path / "copy" / "a" / "b" / "c" / "one")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_holes_stay_holes(tmp_path: Path, kept: Path, *, elsewhere: bool) -> None:
    """A copy of a terabyte of nothing takes no room and no time, on another disk as well."""
    size = 1 << 40
    with (kept / "large").open("wb") as file:
        for start in (5, 1 << 39, size - 3):
            file.seek(start)
            file.write(b"end")
    beside = SHM if elsewhere else tmp_path
    with tempfile.TemporaryDirectory(dir=beside) as name:
        copy = Path(name) / "copy"
        place(kept, copy, never)
        state = (copy / "large").stat()
        assert state.st_size == size
        assert state.st_blocks * 512 <= 3 * 2 * 4096
        with (copy / "large").open("rb") as file:
            for start in (5, 1 << 39, size - 3):
                file.seek(start - 1)
                assert file.read(4) == b"\0end"


def test_nothing_that_is_done_to_a_copy_comes_back(tmp_path: Path, kept: Path) -> None:
    """No file of the copy is one of the original, so the original stays byte for byte."""
    before = look(kept)
    place(kept, tmp_path / "copy", never)
    for path in (tmp_path / "copy").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
            with path.open("r+b") as file:
                file.write(b"changed")
    assert look(kept) == before


def test_a_copy_must_be_new(tmp_path: Path, kept: Path) -> None:
    """What is there already is not mixed with it."""
    (tmp_path / "copy").mkdir()
    with pytest.raises(FileExistsError):
        place(kept, tmp_path / "copy", never)


@pytest.mark.anyio
async def test_a_copy_stops_when_nobody_waits_for_it(tmp_path: Path) -> None:
    """Between two files, and inside a large one: its thread is over before the wait is."""
    root = tmp_path / "kept"
    root.mkdir()
    for number in range(1000):
        (root / f"{number}").write_text("x")
    begun, copied = threading.Event(), tmp_path / "copy"

    def copy(stop: blocking.Stop) -> None:
        def check() -> None:
            if copied.exists() and len(os.listdir(copied)) > 10:  # noqa: PTH208 - names will do
                begun.set()
                stop.pause(PATIENCE)
            stop.check()

        place(root, copied, check)

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: blocking.call(copy, limit=blocking.Limit(1)))
        await until(begun.is_set)
        group.cancel_scope.cancel()
    assert 10 < len(list(copied.iterdir())) < 1000


def test_what_cannot_be_copied_is_told(tmp_path: Path, kept: Path) -> None:
    """The first trouble ends all threads and comes out as it is."""
    blocked = tmp_path / "copy"

    def check() -> None:
        if blocked.exists():
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        place(kept, blocked, check)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return what mounts a fresh file system of a kind."""
    mounted: list[Path] = []

    def mount(kind: str) -> Path:
        image, place_ = tmp_path / f"{kind}.image", tmp_path / kind
        with image.open("wb") as file:
            file.truncate(400 << 20)
        place_.mkdir()
        for command in ([f"mkfs.{kind}", str(image)], ["mount", str(image), str(place_)]):
            try:
                done = subprocess.run(command, capture_output=True, check=False)
            except FileNotFoundError:
                pytest.skip(f"{command[0]} is not installed")
            if done.returncode != 0:
                pytest.skip(f"{kind} cannot be mounted here: {done.stderr.decode().strip()}")
        mounted.append(place_)
        return place_

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)  # noqa: S607 - where it is differs


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_blocks_are_shared_where_that_is_possible(
    elsewhere: Callable[[str], Path], kind: str, kept: Path
) -> None:
    """Where there are reflinks, copies fit that would not, and each is its own all the same."""
    disk = elsewhere(kind)
    place(kept, disk / "first", never)
    with (disk / "first" / "large").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 220 << 20)
    place(disk / "first", disk / "second", never)
    (disk / "second" / "sealed").chmod(0o600)
    (disk / "second" / "sealed").write_text("changed")
    assert (disk / "second" / "large").stat().st_size == 220 << 20
    (disk / "first" / "large").unlink()
    assert seen(disk / "first") == seen(kept)


@pytest.mark.skipif(not SHM.is_mount(), reason="no second file system")
def test_another_file_system_is_copied_to(kept: Path) -> None:
    """Where the kernel shares nothing between the two, bytes are copied all the same."""
    other = SHM / f"placing-{os.getpid()}"
    try:
        place(kept, other, never)
        assert seen(other) == seen(kept)
    finally:
        remove_tree(other)
