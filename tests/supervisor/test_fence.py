"""The fence around an experiment: which system calls fail, whom it can signal and reach."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.supervisor import fence

ROOT = Path(__file__).parents[2]
ALLOWED, REFUSED = 0x7FFF0000, 0x00050000 | errno.EPERM
MACHINES = [machines for _, machines in fence._MACHINES.values()]


def answer(code: bytes, machine: int, number: int) -> int:
    """Return what the kernel makes of a filter: the few words of its language that we use."""
    given, lines, at, held = {0: number, 4: machine}, list(struct.iter_unpack("@HBBI", code)), 0, 0
    while True:
        word, then, otherwise, value = lines[at]
        at += 1
        if word == fence._RETURN:
            return int(value)
        if word == fence._LOAD:
            held = given[value]
        elif word == fence._AND:
            held &= value
        else:
            assert word == fence._IS
            at += then if held == value else otherwise


@pytest.mark.parametrize("machines", MACHINES)
@given(number=st.integers(0, (1 << 32) - 1))
def test_the_filter_refuses_what_is_listed_and_nothing_else(
    machines: dict[int, tuple[int, ...]], number: int
) -> None:
    """On each kind of machine, and for its programs of another width by their own numbers."""
    code = fence.program(machines)
    for machine, calls in machines.items():
        for one in (*calls, number):
            bare = one & ~fence._SHORT_POINTERS if machine == fence._AUDIT_X86_64 else one
            assert answer(code, machine, one) == (REFUSED if bare in calls else ALLOWED)
    assert answer(code, 0xDEAD, next(iter(machines.values()))[0]) == ALLOWED


#: Becomes somebody who has no powers, fences itself in, and tells what it still can.
INSIDE = """
import ctypes, errno, json, os, socket, subprocess, sys
from runner.supervisor import fence, syscalls
sibling, name = int(sys.argv[1]), sys.argv[2]
syscalls.forbid_new_privileges()
fence.put_up()
libc = ctypes.CDLL(None, use_errno=True)

def tell(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def keyring():
    if libc.syscall(ctypes.c_long(CALL), 0, -4, 1) < 0:
        raise OSError(ctypes.get_errno(), "")

def own_socket():
    with socket.socket(socket.AF_UNIX) as here, socket.socket(socket.AF_UNIX) as there:
        here.bind(f"\\0{name}-own")
        here.listen()
        there.connect(f"\\0{name}-own")

def other_socket():
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(f"\\0{name}")

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
try:
    print(json.dumps({
        "keyring": tell(keyring),
        "signal another": tell(lambda: os.kill(sibling, 0)),
        "signal its own": tell(lambda: os.kill(child.pid, 0)),
        "another's socket": tell(other_socket),
        "its own socket": tell(own_socket),
        "file": tell(lambda: os.stat("/")),
    }))
finally:
    child.kill()
    child.wait()
"""
KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}


@pytest.mark.skipif(os.uname().machine not in KEYCTL, reason="no filter for this machine")
def test_who_is_fenced_in_has_its_own_and_no_more() -> None:
    """Keyrings, others' processes and their nameless sockets are closed; its own are as before."""
    name = f"studio-runner-fence-{os.getpid()}"
    code = INSIDE.replace("CALL", str(KEYCTL[os.uname().machine]))
    with socket.socket(socket.AF_UNIX) as gate:
        gate.bind(f"\0{name}")
        gate.listen()
        done = subprocess.run(
            [sys.executable, "-c", code, str(os.getpid()), name],
            capture_output=True,
            check=True,
            cwd=ROOT,
            text=True,
        )
    closed = "EPERM" if fence.keeps_apart() else "done"
    assert json.loads(done.stdout) == {
        "keyring": "EPERM",
        "signal another": closed,
        "signal its own": "done",
        "another's socket": closed,
        "its own socket": "done",
        "file": "done",
    }
