"""A daemon that detaches is gone soon, whatever hangs in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

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

LATE = """
import os, signal, sys, threading, time
import anyio
from runner.app.reexec import Reexec, heed_again
from runner.handover import Locks

reexec = Reexec(Locks.inherited(os.environ))
signal.signal(signal.SIGTERM, lambda *_: print("told"))
heed_again()
if reexec.has_happened:
    sys.exit(7)

def last_words():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)  # until the other thread has taken it

async def main():
    with anyio.open_signal_receiver(signal.SIGTERM):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        reexec.last_words = last_words
        with reexec.executed_after():
            reexec.want()

anyio.run(main)
"""

FAILS = """
import os, sys
import anyio
from runner.app.reexec import Reexec, heed_again
from runner.handover import Locks

reexec = Reexec(Locks.inherited(os.environ))
heed_again()
if reexec.has_happened:
    print("again")
    sys.exit(7)

async def broken():
    raise ZeroDivisionError

async def main():
    async with anyio.create_task_group() as background:
        with reexec.executed_after():
            reexec.want()
            if sys.argv[1] == "beside":
                background.start_soon(broken)
                await anyio.sleep_forever()
            await broken()

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


def test_a_signal_that_another_thread_takes_at_the_very_end_is_not_lost() -> None:
    """Nobody's loop turns any more then, and the program is about to be another one."""
    whole = [sys.executable, "-c", LATE]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (7, "told\n"), done.stderr


@pytest.mark.parametrize("where", ["within", "beside"])
def test_what_goes_wrong_in_leaving_keeps_no_daemon_from_being_executed_anew(where: str) -> None:
    """A defect of ours, in what leaves or in a task beside it, which cancels that; it is logged."""
    whole = [sys.executable, "-c", FAILS, where]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (7, "again"), done.stderr
