"""The daemon's process is closed to other processes of its user."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runner.supervisor import syscalls

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be an ordinary user")

NOBODY = 65534


def as_nobody(act: Callable[[], None]) -> int:
    """Start a process of the ordinary user that does something; return its pid when it did."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            # Who changed its user counts as secretive, which an ordinary process is not.
            syscalls._prctl(syscalls._PR_SET_DUMPABLE, 1)
            act()
            os.write(tell, b"x")
            os.close(tell)
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(told, 1) == b"x"
    os.close(told)
    return pid


def end(pid: int) -> None:
    """End a process of ours."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def looked_into(victim: int) -> list[str]:
    """Return what another process of the same user can open of the victim."""
    names = ("environ", "mem", "maps", "root/etc/passwd", "cwd", "fd/0", "exe")
    told, tell = os.pipe()

    def look() -> None:
        opened = []
        for name in names:
            with suppress(OSError):
                os.close(os.open(f"/proc/{victim}/{name}", os.O_RDONLY))
                opened.append(name)
        os.write(tell, " ".join(opened).encode() + b"\n")

    spy = as_nobody(look)
    os.close(tell)
    with os.fdopen(told, "rb") as found:
        seen = found.readline().decode().split()
        end(spy)
    return seen


def test_nobody_of_the_same_user_looks_into_us() -> None:
    """What any process of the user can open of another is closed once we have said so."""
    usual = as_nobody(lambda: None)
    private = as_nobody(syscalls.keep_to_ourselves)
    try:
        assert {"environ", "mem", "root/etc/passwd", "cwd"} <= set(looked_into(usual))
        assert looked_into(private) == []
    finally:
        end(usual)
        end(private)


def test_root_still_can() -> None:
    """Profilers and debuggers of the operator go on working."""
    private = as_nobody(syscalls.keep_to_ourselves)
    try:
        assert Path(f"/proc/{private}/environ").read_bytes()
    finally:
        end(private)
