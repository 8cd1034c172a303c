"""What SIGKILL does not end keeps its share of the machine, and nothing else, until it is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runner.lifecycle.board import Entry
from runner.lifecycle.runs.processes import Left
from runner.lifecycle.runs.record import Records
from runner.lifecycle.runs.remains import Remains, recover
from runner.lifecycle.sources.pulling import fresh_record
from runner.model import Allocation, Bytes, Cause, News
from runner.supervisor.processes import boot_id, look, pid_namespace
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Machine, seen

pytestmark = pytest.mark.anyio

_FREEZER = Path("/sys/fs/cgroup/freezer")
#: Leaves a process behind that shows its pid, and tells when it may be left.
SCRIPT = """
import os, pathlib, time
pid = os.fork()
if pid == 0:
    time.sleep(1000)
pathlib.Path('../modeldir/weights').write_text('w')
print('begun', flush=True)
while not os.path.exists('../go'):
    time.sleep(0.01)
"""


class Ice:
    """A frozen cgroup of version 1: what is in it hears no signal, not even SIGKILL."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def freeze(self, pid: int) -> None:
        """Have the process hang."""
        (self._place / "cgroup.procs").write_text(str(pid))
        (self._place / "freezer.state").write_text("FROZEN")

    def thaw(self) -> None:
        """Let it go on, which it does by dying if it was killed."""
        (self._place / "freezer.state").write_text("THAWED")


@pytest.fixture
def ice() -> Iterator[Ice]:
    """A cgroup of this test's own."""
    if os.geteuid() != 0 or not (_FREEZER / "cgroup.procs").exists():
        pytest.skip("takes root and the freezer of cgroup v1, to make a process that nobody ends")
    place = _FREEZER / f"studio-runner-{os.getpid()}"
    place.mkdir()
    ice = Ice(place)
    try:
        yield ice
    finally:
        ice.thaw()
        _end_all(place)
        place.rmdir()


def _end_all(place: Path) -> None:
    while pids := (place / "cgroup.procs").read_text().split():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


def child_of_the_experiment(machine: Machine) -> int:
    """Return the process that the script left."""
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError, StopIteration):
            command = (place / "cmdline").read_bytes()
            environ = (place / "environ").read_bytes()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            is_ours = str(machine.box.root).encode() in environ and b"train.py" in command
            if is_ours and b"train.py" in Path(f"/proc/{parent}/cmdline").read_bytes():
                return int(place.name)
    raise AssertionError("the script has no child")


@pytest.mark.parametrize("text", ["{here}\n123@", "{here}\n1@2 x", "{here}", "", "\udcff"])
async def test_a_list_that_was_cut_short_keeps_no_daemon_from_starting(
    machine: Machine, tmp_path: Path, text: str
) -> None:
    """On a full disk half of it may have been written: the run's mark finds them, too."""
    machine.queue.send(machine.box.message("print('x')"))
    records = Records(tmp_path / "remains")
    record = fresh_record(machine.queue, await machine.queue.receive())
    records.write(record)
    place = records.place(record.run)
    here = f"{boot_id()} {pid_namespace()}"
    (place / "left").write_text(text.format(here=here), errors="surrogateescape")
    (found,) = await Remains(records).recover()
    assert found.left == []


async def test_a_share_comes_back_when_nothing_is_left_on_it(machine: Machine, ice: Ice) -> None:
    """The result is stored and settled meanwhile, and somebody is told, once, and at the end."""
    handling, letter = await machine.handling(machine.box.message(SCRIPT))
    slot = await machine.parts.intake.slot()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: "begun" in machine.box.live_output())
            ice.freeze(child_of_the_experiment(machine))
            for workspace in (machine.box.state / "work" / "experiments").iterdir():
                (workspace / "go").touch()
        assert letter.settled == ["ack"]
        assert machine.ends == [Cause.COMPLETED.value]
        await seen(lambda: any(one.news is News.WARNING for one in machine.reports))
        assert machine.ledger.held == 1
        ice.thaw()
        await seen(lambda: machine.ledger.held == 0)
    told = [one for one in machine.reports if one.topic.startswith("remains ")]
    assert [one.news for one in told] == [News.WARNING, News.RECOVERED]
    assert "survive SIGKILL" in told[0].text
    await machine.check_clean()


async def test_the_next_daemon_keeps_it_back_too(
    machine: Machine, tmp_path: Path, ice: Ice
) -> None:
    """What is on disk names the share and the process; of the message it holds nothing."""
    machine.queue.send(machine.box.message(SCRIPT))
    share = Allocation(1, Bytes(1 << 20), Bytes(0))
    record = fresh_record(machine.queue, await machine.queue.receive()).but(allocation=share)
    async with await anyio.open_process(["sleep", "1000"]) as process:
        ice.freeze(process.pid)
        found = look(process.pid)
        assert found is not None
        Remains(Records(tmp_path / "remains")).keep(
            Entry(record), [Left(process.pid, found.started)]
        )
        assert '"body": ""' in (tmp_path / "remains" / record.run / "record.json").read_text()
        await recover(replace(machine.parts, remains=Remains(Records(tmp_path / "remains"))))
        await seen(lambda: any(one.news is News.WARNING for one in machine.reports))
        assert machine.ledger.free.cores == machine.ledger.total.cores - 1
        ice.thaw()
        await seen(lambda: machine.ledger.held == 0)
        assert await process.wait() == -signal.SIGKILL
    await seen(lambda: list((tmp_path / "remains").iterdir()) == [])
    await machine.check_clean()


async def test_a_share_of_another_boot_is_not_kept_back(machine: Machine, tmp_path: Path) -> None:
    """A restart of the machine ends what nothing else does; its pids are others' now."""
    machine.queue.send(machine.box.message(SCRIPT))
    record = fresh_record(machine.queue, await machine.queue.receive())
    before = Remains(Records(tmp_path / "remains"))
    before.keep(Entry(record), [Left(1, 1)])
    file = tmp_path / "remains" / record.run / "left"
    file.write_text(file.read_text().replace("-", "x", 1))
    await recover(replace(machine.parts, remains=Remains(Records(tmp_path / "remains"))))
    await seen(lambda: list((tmp_path / "remains").iterdir()) == [])
    assert machine.ledger.held == 0
    assert machine.reports == []
    await machine.check_clean()
