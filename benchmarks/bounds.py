"""What keeping runs to their bounds costs: at a start, and while a run is measured.

Starts ``/bin/true`` in turns without bounds, in control groups (where they can be had) and
measured; then lets runs of 1 and of 200 sleeping processes be measured for a while, and prints what
share of a core their supervisors take. The goals: 20 ms for a start, nearly all of it the kernel's
wait for its processors when a process changes its group, and 1 % of a core.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import anyio

from benchmarks.timing.runs import show, taken
from runner.app import bounds
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Bytes
from runner.sandboxes.base import Bounds
from tests.lifecycle.runs import ENV, Runs, python, recorded

ROUNDS = 100
GOAL = 20.0
PROCESSES = (1, 200)
SECONDS = 10.0
GOAL_SHARE = 1.0
_MEMORY = Bytes(4 << 30)
_HOLD = 2 << 20


def main() -> int:
    """Measure and print; 1 where a goal is missed."""
    with tempfile.TemporaryDirectory() as directory:
        return anyio.run(_measure, Path(os.path.realpath(directory)))


async def _measure(root: Path) -> int:
    found, trouble = await bounds.trial("")
    hows = ["", *(["cgroup"] if found else []), "measure"]
    if trouble:
        print(f"no control groups: {trouble}")
    times: dict[str, list[float]] = {how: [] for how in hows}
    for _ in range(ROUNDS):
        for how in hows:
            times[how].append(await _start(Runs(root), how))
    for how, one in times.items():
        show(how or "no bounds", one)
    before = statistics.median(times.pop(""))
    more = max(statistics.median(one) - before for one in times.values())
    print(f"bounds over none             p50 {more:7.1f} ms   goal {GOAL:.0f} ms")
    shares = [await _share(Runs(root), count) for count in PROCESSES]
    for count, share in zip(PROCESSES, shares, strict=True):
        print(
            f"measuring {count:3d} processes {share:15.2f} %    goal {GOAL_SHARE:.0f} % of a core"
        )
    return int(more > GOAL or max(shares) > GOAL_SHARE)


def _bounded(spec: RunSpec, how: str) -> RunSpec:
    return replace(spec, bounds=Bounds(memory=_MEMORY, cores=1, pids=1000, enforce=how))


async def _start(runs: Runs, how: str) -> float:
    spec = _bounded(runs.spec(("/bin/true",), env=ENV), how)
    return await taken(spec)


async def _share(runs: Runs, count: int) -> float:
    """Return the percentage of a core that the supervisor of so many processes takes."""
    lines = (
        "import os, time",
        f"x = bytearray({_HOLD})",
        f"for _ in range({count - 1}):",
        "    if os.fork() == 0: break",
        "time.sleep(600)",
    )
    run = await Run.start(_bounded(runs.spec(python(*lines)), "measure"))
    supervisor = await recorded(run)
    await anyio.sleep(2)
    before, begun = _cpu_time(supervisor), time.monotonic()
    await anyio.sleep(SECONDS)
    used = (_cpu_time(supervisor) - before) / (time.monotonic() - begun)
    await run.end()
    await run.forget()
    return used * 100


def _cpu_time(pid: int) -> float:
    """Return the seconds that a process has had; the kernel's own account is in nanoseconds."""
    path = Path(f"/proc/{pid}/schedstat")
    return int(path.read_text().split()[0]) / 1e9


if __name__ == "__main__":
    sys.exit(main())
