"""Two daemons on one machine share its cards and never its cores, whoever runs them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import Misconfigured
from runner.model import Bytes, Gpu
from runner.resources.machine_lock import MachineLocks, default_directory, existing_directory, left

A, B = (Gpu(f"GPU-{letter}", "card", Bytes(1)) for letter in "ab")

OTHER = """
import sys
from pathlib import Path
from runner.model import Bytes, Gpu
from runner.resources.machine_lock import MachineLocks
locks = MachineLocks(Path(sys.argv[1]), state_dir=Path("/srv/other"))
locks.take_machine()
locks.take_gpus([Gpu("GPU-a", "card", Bytes(1))])
print("holding", flush=True)
sys.stdin.read()
"""


def test_the_first_daemon_gets_everything(tmp_path: Path) -> None:
    """Alone on a machine, nothing is in the way."""
    with MachineLocks(tmp_path, state_dir=tmp_path) as locks:
        locks.take_machine()
        shared = locks.take_gpus([A, B])
    assert (shared.gpus, shared.taken) == ((A, B), ())


def test_a_second_daemon_takes_what_is_left(tmp_path: Path) -> None:
    """Cores and memory are refused, cards that are free are given; sentences name the other.

    A daemon that is killed leaves everything to the next one.
    """
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
        MachineLocks(tmp_path, state_dir=tmp_path) as locks,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        who = f"the runner with pid {other.pid} and state directory '/srv/other'"
        with pytest.raises(Misconfigured, match=f"{who} already gives out"):
            locks.take_machine()
        shared = locks.take_gpus([A, B])
        assert shared.gpus == (B,)
        assert shared.sentences == (f"card GPU-a is left to {who}",)
        other.kill()
        other.wait()
        locks.take_machine()
        assert locks.take_gpus([A]).gpus == (A,)


def test_closing_gives_the_machine_back(tmp_path: Path) -> None:
    """After ``close`` the next daemon starts, with other directories or the same."""
    for state in ("one", "two", "two"):
        with MachineLocks(tmp_path, state_dir=tmp_path / state) as locks:
            locks.take_machine()
            note = json.loads((tmp_path / "machine.lock").read_text())
            assert note == {"pid": os.getpid(), "state_dir": str(tmp_path / state)}


def test_daemons_with_bounds_share_the_machine(tmp_path: Path) -> None:
    """Two that give out no more than they are told go together; one that takes all goes alone."""
    with (
        MachineLocks(tmp_path, state_dir=tmp_path / "one") as one,
        MachineLocks(tmp_path, state_dir=tmp_path / "two") as two,
        MachineLocks(tmp_path, state_dir=tmp_path / "all") as everything,
    ):
        one.take_machine(is_bounded=True)
        two.take_machine(is_bounded=True)
        assert one.take_gpus([A]).gpus == (A,)
        assert two.take_gpus([A, B]).gpus == (B,)
        with pytest.raises(Misconfigured, match="give each its own --max-cores and --max-mem"):
            everything.take_machine()
        one.close()
        two.close()
        everything.take_machine()
        with pytest.raises(Misconfigured, match=r"state directory .*/all"):
            one.take_machine(is_bounded=True)


def test_what_is_left_is_told_without_taking_it(tmp_path: Path) -> None:
    """From the kernel's list of locks; what our own daemon has would be ours again."""
    m = Gpu("MIG-m", "part", Bytes(1), parent="GPU-a")
    with MachineLocks(tmp_path, state_dir=tmp_path / "one") as one:
        assert left(tmp_path, tmp_path / "two", [A, B, m]).gpus == (A, B, m)
        assert list(tmp_path.iterdir()) == []
        one.take_gpus([A])
        shared = left(tmp_path, tmp_path / "two", [A, B, m])
        assert shared.gpus == (B,)
        who = f"the runner with pid {os.getpid()} and state directory '{tmp_path}/one'"
        assert shared.sentences == (f"card GPU-a is left to {who}", f"part MIG-m is left to {who}")
        assert left(tmp_path, tmp_path / "one", [A, B, m]).gpus == (A, B, m)
        one.close()
        one.take_gpus([m])
        other = Gpu("MIG-n", "part", Bytes(1), parent="GPU-a")
        assert left(tmp_path, tmp_path / "two", [A, m, other]).gpus == (other,)


def test_the_directory_of_locks_is_told_without_making_it(tmp_path: Path) -> None:
    """The one that would be used."""
    assert existing_directory(tmp_path / "shared") == tmp_path / "shared"
    own = existing_directory(tmp_path / "missing" / "shared")
    assert own == Path(f"/tmp/studio-runner-{os.geteuid()}")  # noqa: S108 - the documented place
    assert list(tmp_path.iterdir()) == []


def test_instances_of_a_card_are_shared_and_the_whole_is_not(tmp_path: Path) -> None:
    """Each MIG instance has a lock of its own; whoever has the whole card has its instances.

    Neither switching MIG on nor off under a daemon gives a part to two.
    """
    m, n = (Gpu(f"MIG-{letter}", "part", Bytes(1), parent="GPU-a") for letter in "mn")
    with (
        MachineLocks(tmp_path, state_dir=tmp_path / "one") as one,
        MachineLocks(tmp_path, state_dir=tmp_path / "two") as two,
    ):
        assert one.take_gpus([m]).gpus == (m,)
        assert two.take_gpus([m, n]).gpus == (n,)
        one.close()
        assert one.take_gpus([A, B]).gpus == (B,)
        two.close()
        one.close()
        assert one.take_gpus([A]).gpus == (A,)
        shared = two.take_gpus([m, n])
        assert (shared.gpus, len(shared.taken)) == ((), 2)


@pytest.mark.parametrize("note", [b"", b"[]", b'{"pid": "x"}', b"\xff\xfe", b"[" * 5000])
def test_an_unreadable_note_is_another_runner(tmp_path: Path, note: bytes) -> None:
    """What stands in the file is somebody else's text; the lock itself is what counts."""
    with (
        MachineLocks(tmp_path, state_dir=tmp_path) as first,
        MachineLocks(tmp_path, state_dir=tmp_path) as second,
    ):
        first.take_machine()
        (tmp_path / "machine.lock").write_bytes(note)
        with pytest.raises(Misconfigured, match="another runner already gives out"):
            second.take_machine()


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "fifo", "directory"])
def test_a_planted_lock_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Nothing is written through a link that somebody put there, and nothing waits for a pipe."""
    victim, lock = tmp_path / "victim", tmp_path / "machine.lock"
    victim.write_text("precious")
    if kind == "symlink":
        lock.symlink_to(victim)
    elif kind == "hardlink":
        lock.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    locks = MachineLocks(tmp_path, state_dir=tmp_path)
    with locks, pytest.raises(Misconfigured, match=r"machine\.lock cannot be used"):
        locks.take_machine()
    assert victim.read_text() == "precious"


def test_the_shared_directory_is_for_everybody(tmp_path: Path) -> None:
    """Made by whoever comes first, sticky and open, with files that any user can lock."""
    shared = tmp_path / "shared"
    for _ in range(2):
        assert default_directory(shared) == shared
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    with MachineLocks(shared, state_dir=tmp_path) as locks:
        locks.take_machine()
        assert stat.S_IMODE((shared / "machine.lock").stat().st_mode) == 0o666


def test_a_machine_without_such_a_place_gives_one_per_user(tmp_path: Path) -> None:
    """Where the shared directory cannot be made, the user's own is private to the user."""
    own = default_directory(tmp_path / "missing" / "shared")
    assert own == Path(f"/tmp/studio-runner-{os.geteuid()}")  # noqa: S108 - the documented place
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a directory that other users reach; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_lock_holds_between_users(tmp_path: Path, public: Path) -> None:
    """Root's daemon keeps an ordinary user's out, and leaves the file so that both can use it."""
    shared = default_directory(public / "shared")
    with MachineLocks(shared, state_dir=tmp_path) as locks:
        locks.take_machine()
        assert _as_nobody(shared) == "refused"
    assert _as_nobody(shared) == "taken"
    with MachineLocks(shared, state_dir=tmp_path) as locks:
        locks.take_machine()


def _as_nobody(directory: Path) -> str:
    """Try the machine's lock in a child of another user."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.setgid(65534)
        os.setuid(65534)
        try:
            MachineLocks(directory, state_dir=directory).take_machine()
            os.write(writing, b"taken")
        except Misconfigured as error:
            os.write(writing, b"refused" if b"already" in str(error).encode() else b"broken")
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as answer:
        return answer.read().decode()
