"""A daemon that detaches is gone soon, whatever hangs in it."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import time
import anyio, anyio.to_thread
from runner.app.leaving import begin_to_leave

async def main():
    with anyio.CancelScope() as scope:
        begin_to_leave(scope)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(time.sleep, 1000)

anyio.run(main)
"""

AGAIN = """
import os, signal, sys, time
import anyio, anyio.to_thread
from runner.app.leaving import begin_to_leave
from runner.app.reexec import Reexec, heed_again
from runner.handover import Locks

reexec = Reexec(Locks.inherited(os.environ))
signal.signal(signal.SIGUSR1, lambda *_: print("told"))
heed_again()
print(os.getpid(), reexec.has_happened)
if reexec.has_happened:
    sys.exit(7)
reexec.late = lambda: [signal.SIGUSR1]

async def main():
    with anyio.CancelScope() as scope:
        reexec.want()
        begin_to_leave(scope, 0.1, reexec.execute)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(time.sleep, 1000)

anyio.run(main)
"""


def test_what_hangs_is_not_waited_for() -> None:
    """A thread in a dead file system keeps nobody; the end is a good one all the same."""
    done = subprocess.run([sys.executable, "-c", HANGS], check=False, timeout=60)
    assert done.returncode == 0


def test_what_hangs_does_not_keep_a_daemon_from_being_executed_anew() -> None:
    """From another thread all the same; a signal that came too late is heeded by the next one."""
    whole = [sys.executable, "-c", AGAIN]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60)
    first, told, second = done.stdout.splitlines()
    pid = first.split()[0]
    assert (first, told, second) == (f"{pid} False", "told", f"{pid} True")
    assert done.returncode == 7
