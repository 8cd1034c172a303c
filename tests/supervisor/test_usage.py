"""What a run uses is read from its processes, and from nobody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from runner.supervisor import usage

SIZE = 50_000_000


@contextmanager
def running(*lines: str) -> Iterator[int]:
    """Run Python until the end of the block, from when it has said something.

    Gives the pid of its parent, whose only child it is: ours has other children as well.
    """
    python = [sys.executable, "-c", "\n".join((*lines, "print(1, flush=True); input()"))]
    command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *python]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.pid
        finally:
            process.communicate(b"\n")


def test_memory_and_threads_of_all_descendants_are_added_up() -> None:
    """Also of children that a thread has started, and of their children."""
    lines = (
        "import os, threading, time",
        f"x = bytearray({SIZE})",
        "sleepers = [threading.Thread(target=time.sleep, args=(600,), daemon=True) for _ in '123']",
        "for one in sleepers: one.start()",
        "read, write = os.pipe(); ready, filled = os.pipe()",
        "def fork():",
        "    if os.fork() == 0:",
        f"        y = bytearray({SIZE}); os.write(filled, b'1')",
        "        os.close(write); os.read(read, 1); os._exit(0)",
        "starter = threading.Thread(target=fork); starter.start(); starter.join()",
        "os.read(ready, 1)",
    )
    with running(*lines) as parent:
        seen = usage.below(parent)
        assert len(seen.pids) == 2
        assert parent not in seen.pids
        assert seen.threads >= 5
        assert 3 * SIZE <= seen.memory < 3 * SIZE + 60_000_000
        exact = usage.exactly(seen.pids)
        assert 2 * SIZE <= exact < 2 * SIZE + 60_000_000


def test_a_file_that_is_mapped_is_no_memory() -> None:
    """The kernel gives it back when somebody needs it."""
    lines = (
        "import mmap, tempfile",
        "file = tempfile.TemporaryFile(); file.truncate(100_000_000)",
        "x = mmap.mmap(file.fileno(), 100_000_000); sum(x[::4096])",
    )
    with running(*lines) as parent:
        seen = usage.below(parent)
        assert seen.memory < SIZE
        assert usage.exactly(seen.pids) < SIZE


def test_shared_memory_counts() -> None:
    """Nobody can have it back before it is let go."""
    lines = ("import mmap", f"x = mmap.mmap(-1, {SIZE})", f"x[:] = b'x' * {SIZE}")
    with running(*lines) as parent:
        assert usage.below(parent).memory >= SIZE


def test_what_is_gone_uses_nothing() -> None:
    """A process may end while it is looked at."""
    assert usage.exactly([2**22 + 1]) == 0
    assert usage.below(2**22 + 1).memory == 0
