"""Children from before an exec are waited for."""

from __future__ import annotations

import sys

import anyio
import pytest

pytestmark = pytest.mark.anyio

#: Becomes itself anew with a child that it then knows nothing of, and reaps that.
_SCRIPT = """
import os, signal, sys
import anyio
from runner.app.background import in_background
from runner.app.children import reap_inherited

if len(sys.argv) == 1:
    child = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ)
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], str(child)])

async def main():
    child = int(sys.argv[1])
    async with anyio.create_task_group() as group:
        reap_inherited(in_background(group))
        os.kill(child, signal.SIGKILL)
        while os.path.exists(f"/proc/{child}"):
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()

anyio.run(main)
print("no zombie")
"""


async def test_a_child_from_before_an_exec_leaves_no_zombie() -> None:
    """A supervisor that ends after a reload is reaped, although nobody here started it."""
    with anyio.fail_after(60):
        done = await anyio.run_process([sys.executable, "-c", _SCRIPT], stderr=None)
    assert done.stdout == b"no zombie\n"
