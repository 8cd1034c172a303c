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


def test_what_hangs_is_not_waited_for() -> None:
    """A thread in a dead file system keeps nobody; the end is a good one all the same."""
    done = subprocess.run([sys.executable, "-c", HANGS], check=False, timeout=60)
    assert done.returncode == 0
