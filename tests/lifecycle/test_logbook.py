"""The lines of ``_metrics``: in the form of the client's worker, with the run's own figures."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.lifecycle.logbook import (
    LABEL,
    SHORTEST_INTERVAL,
    Figures,
    Logbook,
    logbook_interval,
    own_cards,
)
from runner.lifecycle.runs import meter
from runner.lifecycle.runs.supervisor import Supervisor
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Bytes, Experiment, Gpu, Needs, Request
from runner.resources.base import GpuReading
from tests.acceptance.box import Box
from tests.lifecycle.machine import Machine, seen

pytestmark = pytest.mark.anyio

#: What ``save_metrics`` and ``get_gpus_summary`` of the client's worker make.
FORM = re.compile(
    r"time: \d+\.\d+ CPU: \d+\.\d mem: \d+ ((gpu \d+ util: (\d+ %|N/A), mem \d+ ?)*) \n"
)
_BUSY = """
import pathlib, time
print('begun', flush=True)
held = bytearray(64 << 20)
held[::4096] = b'x' * len(held[::4096])
while not pathlib.Path('../go').exists():
    pass
"""

_NESTED = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BUSY!r}])"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


def go(machine: Machine) -> None:
    """Let the script end."""
    for workspace in (machine.box.state / "work" / "experiments").iterdir():
        (workspace / "go").touch()


def test_a_line_is_what_the_clients_worker_writes() -> None:
    """Time, processor and memory; then each card as ``nvidia-smi`` counts it."""
    cards = [(0, GpuReading(used=Bytes(2048), utilization=0.874)), (3, GpuReading())]
    line = Figures(1542.5, 93.52, 1048576, cards).line()
    assert line == (
        "time: 1542.5 CPU: 93.5 mem: 1048576 gpu 0 util: 87 %, mem 2048 gpu 3 util: N/A, mem 0 \n"
    )
    assert FORM.fullmatch(line)
    assert Figures(1.0, 0.0, 0).line() == "time: 1.0 CPU: 0.0 mem: 0  \n"


def test_the_cards_are_those_of_the_run() -> None:
    """In its order, by the driver's numbers; one that does not answer has no figures."""
    gpus = [
        Gpu(name, "Tesla T4", Bytes(1), minor=minor)
        for name, minor in zip("abc", (4, 5, 6), strict=True)
    ]
    gpus.append(Gpu("d", "Tesla T4", Bytes(1)))
    fine, lost = GpuReading(utilization=0.5), GpuReading(lost="GPU is lost")
    readings = {"a": fine, "b": lost, "c": fine, "d": fine}
    assert own_cards(("c", "b", "d", "unknown"), gpus, readings) == [(6, fine), (3, fine)]


@pytest.mark.parametrize(
    ("asked", "interval"),
    [
        (timedelta(minutes=1), timedelta(minutes=1)),
        (timedelta(seconds=1), SHORTEST_INTERVAL),
        (None, None),
    ],
    ids=["1m", "1s", "none"],
)
def test_the_interval_is_the_requests_and_bounded(
    asked: timedelta | None, interval: timedelta | None
) -> None:
    """Lines of each second for days would be megabytes in each checkpoint."""
    request = Request(Experiment("key", "a.py"), Needs(), {}, metrics_interval=asked)
    assert logbook_interval(request) == interval


async def test_every_run_leaves_a_line(machine: Machine) -> None:
    """One ``./_metrics``, which the client takes for a file: processor time and largest memory."""
    message = machine.box.message(_BUSY)
    key = message["experiment"]["key"]
    async with machine.handled(message, lambda: seen(lambda: "begun" in machine.box.live_output())):
        go(machine)
    line = machine.box.stored(key, "_metrics").decode()
    found = FORM.fullmatch(line)
    assert found is not None, line
    assert int(line.split()[5]) > 64 << 20
    await machine.check_clean()


async def test_a_line_at_each_interval_tells_what_the_run_takes(machine: Machine) -> None:
    """Also of what it has started itself."""
    message = machine.box.message(_NESTED, key="nested")
    async with machine.handled(message, lambda: seen(lambda: "begun" in machine.box.live_output())):
        (entry,) = machine.parts.board
        supervisor = Supervisor.recorded(machine.parts.records.place(entry.record.run))
        assert supervisor is not None
        assert entry.record.workspace is not None
        workspace = Workspace(entry.record.workspace)
        often = timedelta(seconds=0.3)
        book = Logbook(machine.parts, entry, workspace, often, is_wanted=True)
        file = workspace.directory(LABEL) / LABEL
        async with anyio.create_task_group() as group:
            group.start_soon(book.keep, supervisor.pid)
            await seen(lambda: file.exists() and file.read_text().count("\n") > 1)
            group.cancel_scope.cancel()
        go(machine)
    *lines, _, last = machine.box.stored("nested", LABEL).decode().split("\n")
    assert last == ""
    for line in lines:
        assert FORM.fullmatch(f"{line}\n"), line
        _, at, _, cpu, _, memory, *_ = line.split()
        assert float(at) > message["experiment"]["time_added"]
        assert float(cpu) > 0
        assert int(memory) > 64 << 20


async def test_nothing_is_taken_by_who_has_nothing() -> None:
    """A supervisor that is gone, and one without a child."""
    assert meter.taken(2**22 + 1).memory == 0


async def test_what_an_experiment_keeps_there_is_its_own(machine: Machine) -> None:
    """Its artifact keeps the form that it had without us."""
    message = machine.box.message("open('../_metrics/mine.json', 'w').write('{}')")
    await machine.handle(message)
    key = message["experiment"]["key"]
    assert machine.box.stored(key, "_metrics", "./mine.json") == b"{}"


async def test_nobody_wants_it_nobody_gets_it(machine: Machine) -> None:
    """Without the artifact there is no file, and no other one is made of it."""
    message = machine.box.message("print('x')")
    del message["experiment"]["artifacts"]["_metrics"]
    await machine.handle(message)
    stored = machine.box.storage / "experiments" / message["experiment"]["key"]
    assert not (stored / "_metrics.tar").exists()
