"""Locks stay ours across an exec, and nobody else's become ours."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from runner.handover import VARIABLE, Locks

HOLDS = """
import fcntl, os, sys
from pathlib import Path
from runner.handover import Locks

path = Path(sys.argv[1])
locks = Locks.inherited(os.environ)
descriptor = locks.descriptor(path, lambda: os.open(path, os.O_RDWR))
fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
other = os.open(path, os.O_RDWR)
try:
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("locked", os.get_inheritable(descriptor), flush=True)
os.close(other)
if len(sys.argv) > 2:
    locks.keep()
    locks.release(descriptor)
    locks.pass_on(os.environ)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-1]])
locks.release(descriptor)
fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
print("free")
"""


def opened(path: Path) -> int:
    """Open a lock file."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def test_a_lock_is_held_from_before_to_after_an_exec(tmp_path: Path) -> None:
    """The next program has it without a moment in between, and can give it back."""
    path = tmp_path / "lock"
    path.touch()
    command = [sys.executable, "-c", HOLDS, str(path), "again"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["locked False", "locked False", "free"]


def test_what_another_process_left_counts_nothing(tmp_path: Path) -> None:
    """A variable that was inherited from a parent names that one's descriptors."""
    descriptor = opened(tmp_path / "lock")
    environ = {VARIABLE: f"{os.getppid()}:{descriptor}"}
    locks = Locks.inherited(environ)
    assert environ == {}
    another = locks.descriptor(tmp_path / "lock", lambda: opened(tmp_path / "lock"))
    assert another != descriptor
    locks.release(another)
    os.close(descriptor)


def test_nonsense_is_passed_over(tmp_path: Path) -> None:
    """Words, closed numbers, pipes and the standard streams are no locks."""
    reader, writer = os.pipe()
    environ = {VARIABLE: f"{os.getpid()}:x,,-1,0,1,2,{reader},99999,{10**30}"}
    locks = Locks.inherited(environ)
    locks.release_rest()
    found = locks.descriptor(tmp_path / "lock", lambda: opened(tmp_path / "lock"))
    locks.release(found)
    os.close(reader)
    os.close(writer)


def test_what_is_not_wanted_any_more_is_let_go(tmp_path: Path) -> None:
    """A lock of an option that has changed is free for others."""
    path = tmp_path / "lock"
    descriptor = opened(path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    locks = Locks.inherited({VARIABLE: f"{os.getpid()}:{descriptor}"})
    locks.release_rest()
    other = opened(path)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
