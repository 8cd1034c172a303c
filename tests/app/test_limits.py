"""A daemon that could not end what it begins says so in one sentence, and begins nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from runner.app import limits
from runner.supervisor.launch import Launch
from runner.supervisor.start import SANDBOX_UNAVAILABLE, START_FAILED, StartFailed, check

_CHECK = """
from runner.app import limits
from runner.errors import Misconfigured
try:
    limits.check()
except Misconfigured as error:
    print(error)
"""
#: What runs into a limit while the daemon serves.
_LATER = """
import pathlib
import anyio
from runner import blocking
from runner.errors import HostFault
from runner.resources.space import Space

async def main():
    limit()  # not before all is loaded
    try:
        await blocking.call(lambda _: None, limit=blocking.Limit(1))
    except HostFault as error:
        print(error)

anyio.run(main)
try:
    Space().of(pathlib.Path("/"))
except OSError as error:
    print(error.strerror)
"""
_LIMIT = """
import os, resource, sys
def limit():
    resource.setrlimit({limit}, ({most}, {most}))
    if {limit} == resource.RLIMIT_NPROC and os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)  # nothing of this kind is too much for root
"""


def said(limit: int, most: int, script: str) -> str:
    """Return what a process prints that may have no more than this."""
    code = _LIMIT.format(limit=limit, most=most) + script
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def test_here_a_daemon_may_have_enough() -> None:
    """Else no test would say anything."""
    limits.check()


@pytest.mark.parametrize(
    ("limit", "most", "word"),
    [
        (resource.RLIMIT_NOFILE, 200, "200 files open"),
        (resource.RLIMIT_FSIZE, 1 << 20, "1048576 bytes"),
        (resource.RLIMIT_NPROC, 8, "threads can be started here"),
    ],
)
def test_too_little_of_anything_is_named(limit: int, most: int, word: str) -> None:
    """With what to do about it."""
    script = _CHECK.replace("try:", "limit()\ntry:")
    assert word in said(limit, most, script)


def test_threads_that_run_out_later_are_the_machines_fault() -> None:
    """Of the user's own experiments, say: nobody's attempt is a defect of the runner."""
    first, second = said(resource.RLIMIT_NPROC, 1, _LATER).splitlines()
    assert "ulimit -u" in first
    assert "no thread can be started" in second


@pytest.mark.parametrize(("code", "reason"), [(11, SANDBOX_UNAVAILABLE), (13, START_FAILED)])
def test_a_command_that_had_no_process_left_is_none_the_worse(code: int, reason: str) -> None:
    """Whoever sent it could change nothing."""
    told, tell = os.pipe()
    os.write(tell, f"exec {code} \n".encode())
    os.close(tell)
    launch = Launch(
        run_id="r",
        argv=[b"/bin/true"],
        cwd=b"/",
        env={},
        output=b"/output",
        output_limit=0,
        limits={},
        grace=0,
        orphan_timeout=0,
    )
    with pytest.raises(StartFailed) as failed:
        check(launch, told)
    assert failed.value.reason == reason
