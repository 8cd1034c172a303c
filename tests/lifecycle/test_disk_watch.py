"""What outgrows its share of the disk is ended, and nobody else."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import structlog

from runner.lifecycle.board import Board, Entry
from runner.lifecycle.disk.looks import Free
from runner.lifecycle.disk.usage import measure
from runner.lifecycle.disk.watch import DiskWatch
from runner.lifecycle.runs.record import Record
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.tally import Stage
from runner.model import Allocation, Bytes, Cause, Message
from runner.redaction import Redactor
from tests.lifecycle.machine import PATIENCE, seen

pytestmark = pytest.mark.anyio

MB = 10**6
MIB = 1 << 20


class Bench:
    """A watch over workspaces in which nothing runs; a test writes, and says what is free."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.missing = 0
        self.trouble: OSError | None = None
        self.redactor = Redactor()
        self.board = Board()
        self.watch = DiskWatch(
            self.board,
            root,
            Bytes(100 * MB),
            self.redactor,
            shortage=lambda: Bytes(self.missing),
            left=self.left,
            clock=lambda: self.now,
        )

    def left(self, place: Path) -> Free:
        """Return what is free on a disk that nobody else uses."""
        del place
        if self.trouble is not None:
            raise self.trouble
        usage = measure({self.root.parent: ""})
        return Free((1 << 50) - usage.bytes, (1 << 30) - usage.entries)

    def run(self, name: str, *, disk: int = 10 * MB, attached: int = 0) -> tuple[Entry, Workspace]:
        """Have an experiment run that asked for so much."""
        workspace = Workspace.create(self.root, name)
        record = Record(
            run=f"run-{os.getpid()}-{name}",
            message=Message("m", b"", "local_test"),
            broker="local",
            project="p",
            token="t",
            key=name,
            experiment_project="demo",
            attempt=1,
            allocation=Allocation(1, Bytes(0), Bytes(disk)),
            workspace=workspace.root,
            attached=Bytes(attached),
        )
        entry = Entry(record)
        entry.begin(Stage.RUN)
        self.board.enter(entry)
        return entry, workspace

    async def pass_by(self, seconds: int) -> None:
        """Let this time pass, with all looks in it."""
        with anyio.fail_after(PATIENCE):
            for _ in range(seconds):
                self.now += 1.0
                async with anyio.create_task_group() as group:
                    self.watch.tick(group)


def causes(*entries: Entry) -> list[Cause | None]:
    """Return what each was ended for."""
    return [entry.stopper.cause for entry in entries]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a watch."""
    return Bench(tmp_path / "work")


async def test_a_run_over_its_bound_is_ended_at_once_and_told_why(bench: Bench) -> None:
    """With what it holds, what it asked for, and what is largest; without time to say goodbye."""
    entry, workspace = bench.run("greedy")
    await bench.pass_by(3)
    assert causes(entry) == [None]
    (workspace.code / "large.bin").write_bytes(bytes(12 * MB))
    (workspace.scratch / "half").write_bytes(bytes(2 * MB))
    await bench.pass_by(3)
    assert entry.stopper.cause is Cause.OUT_OF_DISK
    assert entry.stopper.detail.startswith("its workspace holds 14")
    assert "MB, it asked for 10 MB; the largest: workspace/large.bin (12 MB), _tmp/half" in (
        entry.stopper.detail
    )
    assert entry.stopper.grace == timedelta(0)
    assert entry.outgrew


async def test_nobody_is_looked_at_while_the_disk_does_not_answer(bench: Bench) -> None:
    """A look would hang, too. It is said once, and again when the disk is back."""
    entry, workspace = bench.run("greedy")
    await bench.pass_by(3)
    (workspace.code / "large.bin").write_bytes(bytes(12 * MB))
    bench.trouble = TimeoutError(110, "its file system does not answer")
    looks = bench.watch.looks
    with structlog.testing.capture_logs() as logs:
        await bench.pass_by(700)
        assert bench.watch.looks == looks
        assert causes(entry) == [None]
        bench.trouble = None
        await bench.pass_by(3)
    said = [(one["log_level"], one.get("trouble")) for one in logs[:2]]
    assert said == [("warning", "its file system does not answer"), ("info", None)]
    assert causes(entry) == [Cause.OUT_OF_DISK]


@pytest.mark.parametrize("label", ["output", "_home", "_tmp", "_env", "modeldir"])
async def test_all_that_it_writes_to_counts(bench: Bench, label: str) -> None:
    """Its home, scratch, output and artifacts as well as its code; our own notes do not."""
    entry, workspace = bench.run("greedy")
    (workspace.private / "layouts").write_bytes(bytes(20 * MB))
    await bench.pass_by(3)
    assert entry.stopper.cause is None
    (workspace.root / label).mkdir(exist_ok=True)
    (workspace.root / label / "large").write_bytes(bytes(12 * MB))
    await bench.pass_by(3)
    assert entry.stopper.cause is Cause.OUT_OF_DISK


async def test_what_it_changes_in_attached_artifacts_counts_with_them(bench: Bench) -> None:
    """They count by their contents, as if they were copied, so no machine is more generous."""
    entry, workspace = bench.run("attached", attached=7 * MB)
    overlay = workspace.overlay("data", bench.root)
    (overlay.upper / "changed").write_bytes(bytes(2 * MB + 100_000))
    await bench.pass_by(3)
    assert entry.stopper.cause is None
    (overlay.upper / "new").write_bytes(bytes(2 * MB))
    await bench.pass_by(3)
    assert entry.stopper.detail.startswith("its workspace holds 11")
    assert "the largest: data/changed (2.1 MB)" in entry.stopper.detail


async def test_who_asks_for_no_disk_is_bound_like_its_artifacts(bench: Bench) -> None:
    """By the operator's number, and told so."""
    entry, workspace = bench.run("silent", disk=0)
    (workspace.code / "large").write_bytes(bytes(90 * MB))
    await bench.pass_by(3)
    assert entry.stopper.cause is None
    (workspace.code / "more").write_bytes(bytes(20 * MB))
    await bench.pass_by(3)
    assert "and who asks for no disk may use 100 MB" in entry.stopper.detail


async def test_while_nothing_is_written_nobody_is_looked_at(bench: Bench) -> None:
    """One look at the beginning; what others write is no reason until it could be too much."""
    bench.run("quiet", disk=10**13)
    await bench.pass_by(2)
    before = bench.watch.looks
    (bench.root / "others").write_bytes(bytes(5 * MB))
    await bench.pass_by(300)
    assert (before, bench.watch.looks) == (1, 1)


async def test_what_no_longer_runs_is_not_ended(bench: Bench) -> None:
    """It is on its way home, and its results are worth more than the disk."""
    entry, workspace = bench.run("done")
    entry.begin(Stage.UPLOAD)
    (workspace.code / "large").write_bytes(bytes(20 * MB))
    await bench.pass_by(3)
    assert entry.stopper.cause is None
    assert bench.watch.looks == 0


async def test_a_workspace_that_is_gone_is_no_trouble(bench: Bench) -> None:
    """Its attempt finds out by itself."""
    entry, workspace = bench.run("gone")
    await workspace.remove()
    await bench.pass_by(3)
    assert entry.stopper.cause is None


async def test_below_the_floor_who_holds_most_that_it_did_not_ask_for_goes_first(
    bench: Bench,
) -> None:
    """One after the other, after caches had time to give way; not who keeps to what it asked."""
    modest, own = bench.run("modest", disk=50 * MB)
    (own.code / "all").write_bytes(bytes(45 * MB))
    small, own = bench.run("small", disk=0)
    (own.code / "some").write_bytes(bytes(10 * MB))
    large, own = bench.run("large", disk=0)
    (own.code / "much").write_bytes(bytes(30 * MB))
    bench.missing = 35 * MB
    await bench.pass_by(14)
    assert causes(modest, small, large) == [None, None, None]
    await bench.pass_by(3)
    assert causes(modest, small, large) == [None, None, Cause.OUT_OF_DISK]
    assert "the disk of the machine is nearly full" in large.stopper.detail
    assert "workspace/much" in large.stopper.detail
    assert not large.outgrew  # elsewhere there may be room
    bench.board.leave(large.record.run)
    bench.missing = 5 * MB
    await bench.pass_by(12)
    assert causes(small) == [None]
    await bench.pass_by(5)
    assert causes(modest, small) == [None, Cause.OUT_OF_DISK]


async def test_below_the_floor_nobody_is_ended_in_vain(bench: Bench) -> None:
    """Where somebody else filled the disk, what experiments hold brings nothing back."""
    entry, workspace = bench.run("innocent", disk=0)
    (workspace.code / "some").write_bytes(bytes(10 * MB))
    bench.missing = 10**12
    await bench.pass_by(60)
    assert entry.stopper.cause is None


async def test_names_are_shown_without_secrets(bench: Bench) -> None:
    """A file may be called like one."""
    bench.redactor.add("hunter2-hunter2")
    entry, workspace = bench.run("named")
    (workspace.code / "hunter2-hunter2").write_bytes(bytes(12 * MB))
    await bench.pass_by(3)
    assert entry.stopper.cause is Cause.OUT_OF_DISK
    assert "hunter2" not in entry.stopper.detail


async def test_a_build_is_told_once_when_it_writes_too_much(bench: Bench, tmp_path: Path) -> None:
    """What was there before is not its doing; below its bound nothing is said."""
    staging, cache = tmp_path / "staging", tmp_path / "cache"
    staging.mkdir()
    cache.mkdir()
    (cache / "old").write_bytes(bytes(20 * MB))
    await anyio.sleep(0.02)  # the clock of file systems goes in steps
    told: list[str] = []
    with bench.watch.guard(
        "the build", {staging: "environment", cache: "downloads"}, Bytes(10 * MB), told.append
    ):
        (staging / "site-packages").write_bytes(bytes(6 * MB))
        await bench.pass_by(3)
        assert told == []
        (cache / "download").write_bytes(bytes(6 * MB))
        await bench.pass_by(35)
    assert len(told) == 1
    assert told[0].startswith("the build holds 12")
    assert "it may use 10 MB; the largest: environment/site-packages" in told[0]
    looks = bench.watch.looks
    await bench.pass_by(700)
    assert bench.watch.looks == looks


async def test_a_bound_of_nothing_is_none(bench: Bench, tmp_path: Path) -> None:
    """As elsewhere among the options."""
    with bench.watch.guard("the build", {tmp_path: ""}, Bytes(0), pytest.fail):
        await bench.pass_by(3)
    assert bench.watch.looks == 0


async def test_a_watch_looks_by_itself_until_it_is_cancelled(tmp_path: Path) -> None:
    """By a real clock."""
    bench = Bench(tmp_path / "work")
    entry, workspace = bench.run("greedy")
    bench.watch = DiskWatch(bench.board, bench.root, Bytes(0), period=0.01, left=bench.left)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.watch.watch)
        await seen(lambda: bench.watch.looks)
        (workspace.code / "large").write_bytes(bytes(12 * MB))
        await seen(lambda: entry.stopper.cause)
        group.cancel_scope.cancel()
    assert entry.stopper.cause is Cause.OUT_OF_DISK


@pytest.mark.parametrize("what", ["a run", "a build"])
async def test_a_watch_sleeps_until_there_is_something_to_watch(tmp_path: Path, what: str) -> None:
    """It does not look at the disk before, and again not after that."""
    bench, asked = Bench(tmp_path / "work"), list[float]()
    bench.root.mkdir(parents=True)

    def shortage() -> Bytes:
        asked.append(anyio.current_time())
        return Bytes(0)

    bench.watch = DiskWatch(bench.board, bench.root, Bytes(0), shortage=shortage, period=0.001)

    async def looks() -> None:
        after = len(asked) + 3
        await seen(lambda: len(asked) > after)

    async with anyio.create_task_group() as group:
        group.start_soon(bench.watch.watch)
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            before = len(asked)
            await anyio.sleep(0.05)
            assert len(asked) - before <= 1  # one that was under way already
            if what == "a run":
                entry, _ = bench.run(f"short-{before}")
                await looks()
                bench.board.leave(entry.record.run)
            else:
                roots = {bench.root: "environment"}
                with bench.watch.guard("the build", roots, Bytes(MB), pytest.fail):
                    await looks()
        group.cancel_scope.cancel()
