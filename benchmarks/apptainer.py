"""What a run in an image takes over a bare ``apptainer exec``, from its start to its end.

Both run ``/bin/true`` of the same directory, in turns, so that a busy machine is unfair to neither.
Prints the middle and the slow ones. The goal is at most 50 ms more in the middle.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from benchmarks.timing.runs import show, taken
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Command, Sandbox
from tests.lifecycle.runs import ENV, Runs
from tests.servers.apptainer import make_image

ROUNDS = 60
GOAL = 50.0
BARE, OURS, SAME = "apptainer exec", "a run", "apptainer exec, as in a run"


def main() -> int:
    """Measure and print; 1 where the goal is missed."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(os.path.realpath(directory))
        times = anyio.run(_measure, root, make_image(root / "image"))
    for name, found in times.items():
        show(name, found)
    more = statistics.median(times[OURS]) - statistics.median(times[BARE])
    print(f"a run over apptainer exec    p50 {more:7.1f} ms   goal {GOAL:.0f} ms")
    return int(more > GOAL)


async def _measure(root: Path, image: Path) -> dict[str, list[float]]:
    sandbox: Sandbox = SANDBOXES.load("apptainer")()
    program = shutil.which("apptainer") or shutil.which("singularity") or ""
    work = root / "work"
    work.mkdir()
    command = Command(("/bin/true",), work, ENV, writable=(work,), image=image)
    walls = sandbox.launch(command).walls
    times: dict[str, list[float]] = {BARE: [], SAME: [], OURS: []}
    for _ in range(ROUNDS):
        times[BARE].append(_bare([program, "exec", str(image), "/bin/true"]))
        times[SAME].append(_bare([*walls, "/bin/true"]))
        times[OURS].append(await _ours(Runs(root), sandbox, command))
    return times


def _bare(words: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, cwd="/")
    return (time.perf_counter() - begun) * 1000


async def _ours(runs: Runs, sandbox: Sandbox, command: Command) -> float:
    spec = replace(runs.spec(command.argv), launch=sandbox.launch(command))
    return await taken(spec)


if __name__ == "__main__":
    sys.exit(main())
