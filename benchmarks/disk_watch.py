"""What watching a workspace of 100,000 files costs, beside looking at all of it each second.

An hour passes by a clock of our own; looks, files and what is free on the disk are real. *busy*: a
neighbour writes all the time, so much that the workspace could be over its bound again and again.
Prints the share of one core; the goal is at most 1 % on average, whoever writes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import anyio

from runner.lifecycle.board import Board, Entry
from runner.lifecycle.disk.usage import measure
from runner.lifecycle.disk.watch import DiskWatch
from runner.lifecycle.runs.record import Record
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.tally import Stage
from runner.model import Allocation, Bytes, Message

FILES, FOLDERS = 100_000, 1_000
HOUR = 3600
GOAL = 0.01
#: What the neighbour writes in a second, and what the workspace may still take.
STEP, MARGIN = 1 << 20, 10 << 20
#: The neighbour begins anew: decreases alone are counted.
ROUND = 50


def main() -> int:
    """Measure and print; 1 where the goal is missed."""
    with tempfile.TemporaryDirectory() as directory:
        workspace = _filled(Path(os.path.realpath(directory)))
        usage = measure(workspace.written())
        print(f"one look at {usage.entries} entries            {usage.seconds * 1000:8.0f} ms")
        shares = {
            name: anyio.run(_an_hour, workspace, usage.charge, name == "busy")
            for name in ("quiet", "busy")
        }
    naive = max(usage.seconds, 1e-9)
    print(f"a look each second                       {naive * 100:8.2f} % of a core")
    for name, (share, looks) in shares.items():
        said = f"the watch, {name} ({looks} looks an hour)"
        print(f"{said:<40} {share * 100:8.2f} % of a core   goal {GOAL:.0%}")
    return int(max(share for share, _ in shares.values()) > GOAL)


def _filled(root: Path) -> Workspace:
    workspace = Workspace.create(root, "benchmark")
    for number in range(FOLDERS):
        folder = workspace.code / str(number // 50) / str(number)
        folder.mkdir(parents=True)
        for name in range(FILES // FOLDERS):
            (folder / str(name)).touch()
    return workspace


async def _an_hour(workspace: Workspace, charge: int, is_busy: bool) -> tuple[float, int]:  # noqa: FBT001 - for anyio.run
    """Return the share of a core, and how many looks there were."""
    entry = Entry(_record(workspace))
    # Small files are allowed for up to twice the bound.
    bound = Bytes((charge + MARGIN) // 2 if is_busy else 100 * charge)
    entry.record = replace(entry.record, allocation=Allocation(1, Bytes(0), bound))
    entry.begin(Stage.RUN)
    board = Board()
    board.enter(entry)
    now = 0.0
    watch = DiskWatch(board, workspace.root.parent, bound, clock=lambda: now)
    neighbour = workspace.root.parent / "neighbour"
    spent = 0.0
    for second in range(HOUR):
        now += 1.0
        if is_busy:
            with neighbour.open("wb" if second % ROUND == 0 else "ab") as file:
                file.write(bytes(STEP))
        begun = time.process_time()
        async with anyio.create_task_group() as group:
            watch.tick(group)
        spent += time.process_time() - begun
    if entry.stopper.cause is not None:
        raise RuntimeError(entry.stopper.detail)
    return spent / HOUR, watch.looks


def _record(workspace: Workspace) -> Record:
    return Record(
        run="benchmark",
        message=Message("m", b"", "local_benchmark"),
        broker="local",
        project="p",
        token="t",  # noqa: S106 - of a message
        key="benchmark",
        experiment_project="demo",
        attempt=1,
        allocation=Allocation(1, Bytes(0), Bytes(0)),
        workspace=workspace.root,
    )


if __name__ == "__main__":
    sys.exit(main())
