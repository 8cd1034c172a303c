"""A file system that does not answer holds nobody up, and says so."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.resources.host import MachineProbe
from runner.resources.space import STALE, Space

_DETACH = 2


class Disk:
    """Answers when it is let, and counts who asked."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0
        self.now = 0.0
        self.trouble: OSError | None = None
        self.ended = threading.Semaphore(0)

    def ask(self, place: Path) -> os.statvfs_result:
        """Ask the true one."""
        self.asked += 1
        self.answers.wait()
        try:
            if self.trouble is not None:
                raise self.trouble
            return os.statvfs(place)
        finally:
            self.ended.release()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Return a disk; whoever hangs is let go at the end."""
    made = Disk()
    yield made
    made.answers.set()


def space(disk: Disk, at_once: float = 0.01) -> Space:
    """Ask a disk."""
    return Space(disk.ask, clock=lambda: disk.now, at_once=at_once, first=at_once)


def test_what_answers_is_asked_each_time(disk: Disk, tmp_path: Path) -> None:
    """Nothing old is told: whoever has made room looks whether it is enough."""
    asks = space(disk, at_once=60)
    for number in range(1, 4):
        assert asks.of(tmp_path).f_blocks == os.statvfs(tmp_path).f_blocks
        assert disk.asked == number


def test_who_has_just_asked_need_not_ask_again(disk: Disk, tmp_path: Path) -> None:
    """Claims come in bursts, and a question costs a thread."""
    asks = space(disk, at_once=60)
    for _ in range(3):
        asks.of(tmp_path, recent=0.5)
    assert disk.asked == 1
    disk.now = 0.5
    asks.of(tmp_path, recent=0.5)
    assert disk.asked == 2


def test_one_that_hangs_is_not_asked_again_and_its_last_answer_grows_old(
    disk: Disk, tmp_path: Path
) -> None:
    """Ten seconds are no news; after that it is said that there is no answer."""
    asks = space(disk, at_once=60)
    before = asks.of(tmp_path)
    disk.answers.clear()
    asks.at_once = 0.01
    for _ in range(3):
        assert asks.of(tmp_path) == before
    disk.now = STALE + 1
    for _ in range(3):
        with pytest.raises(TimeoutError, match="does not answer"):
            asks.of(tmp_path)
    assert disk.asked == 2


def test_one_that_never_answered_is_silent_from_the_start(disk: Disk, tmp_path: Path) -> None:
    """Others beside it are asked all the same."""
    disk.answers.clear()
    asks = space(disk)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            asks.of(tmp_path)
    assert disk.asked == 1
    with pytest.raises(TimeoutError):
        asks.of(tmp_path.parent)
    assert disk.asked == 2


def test_one_that_comes_back_is_asked_anew(disk: Disk, tmp_path: Path) -> None:
    """The answer to the question that hung is as old as it is."""
    disk.answers.clear()
    asks = space(disk)
    with pytest.raises(TimeoutError):
        asks.of(tmp_path)
    disk.answers.set()
    disk.ended.acquire()
    asks.at_once = asks.first = 60.0
    disk.now = 1000.0
    asks.of(tmp_path)
    assert disk.asked == 2


def test_what_the_system_says_is_said(disk: Disk, tmp_path: Path) -> None:
    """A directory that is not there is no silence, and comes back when it is."""
    disk.trouble = FileNotFoundError(2, "no such directory")
    asks = space(disk, at_once=60)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            asks.of(tmp_path)
    disk.trouble = None
    asks.of(tmp_path)


def test_a_mount_whose_server_hangs_is_low_disk(tmp_path: Path) -> None:
    """With a real one that nobody serves: claiming ends with a sentence that says why."""
    with hanging(tmp_path / "mount") as place:
        probe = MachineProbe(place)
        for _ in range(2):
            assert probe.disk_is_low() == (
                f"the directory {place} cannot be used: its file system does not answer"
            )
            assert probe.disk_shortage() == probe.disk_below_floor() == 0


@contextmanager
def hanging(place: Path) -> Iterator[Path]:
    """Mount a file system in user space whose server never answers."""
    place.mkdir()
    system = ctypes.CDLL(None, use_errno=True)
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no /dev/fuse: {error}")
    try:
        options = f"fd={server},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if system.mount(b"hangs", os.fsencode(place), b"fuse", 0, options.encode()):
            pytest.skip(f"nothing can be mounted: {os.strerror(ctypes.get_errno())}")
        try:
            yield place
        finally:
            system.umount2(os.fsencode(place), _DETACH)
    finally:
        os.close(server)  # ends whoever hangs
