"""What bubblewrap adds to the start and end of a run, over a plain one under the same supervisor.

Both run ``/bin/true`` in turns, so that a busy machine is unfair to neither. Prints the middle and
the slow ones. The goal is at most 30 ms more in the middle.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio

from benchmarks.timing.runs import show, taken
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Command, Sandbox
from tests.lifecycle.runs import ENV, Runs

ROUNDS = 100
GOAL = 30.0


def main() -> int:
    """Measure and print; 1 where the goal is missed."""
    with tempfile.TemporaryDirectory() as directory:
        times = anyio.run(_measure, Path(os.path.realpath(directory)))
    for name, found in times.items():
        show(name, found)
    more = statistics.median(times["bwrap"]) - statistics.median(times["plain"])
    print(f"bwrap over plain             p50 {more:7.1f} ms   goal {GOAL:.0f} ms")
    return int(more > GOAL)


async def _measure(root: Path) -> dict[str, list[float]]:
    sandboxes: dict[str, Sandbox] = {name: SANDBOXES.load(name)() for name in ("plain", "bwrap")}
    times: dict[str, list[float]] = {name: [] for name in sandboxes}
    for _ in range(ROUNDS):
        for name, sandbox in sandboxes.items():
            times[name].append(await _one(Runs(root), sandbox))
    return times


async def _one(runs: Runs, sandbox: Sandbox) -> float:
    secret = runs.root / "secret"
    secret.mkdir(exist_ok=True)
    work = runs.root / "work"
    work.mkdir(exist_ok=True)
    command = Command(("/bin/true",), work, ENV, writable=(work,), hidden=(secret,))
    spec = replace(runs.spec(command.argv), launch=sandbox.launch(command))
    return await taken(spec)


if __name__ == "__main__":
    sys.exit(main())
