"""The run record is whole or absent, and gone at once when the run is settled."""

from __future__ import annotations

import json
import os
import signal
import stat
import tempfile
from pathlib import Path

import anyio
import pytest
import structlog.testing

from runner.errors import HostFault
from runner.lifecycle.board import Entry
from runner.lifecycle.runs.record import Phase, Record, Records
from runner.model import Allocation, Bytes, Cause, Identity, Message
from runner.supervisor import processes
from tests.lifecycle.records import a_record

pytestmark = pytest.mark.anyio

RECORD = a_record(
    "r1",
    message=Message("m", b"\xff body", "local_q", 3),
    broker="local",
    project="/queues",
    token="t",
    key="k",
    experiment_project="p",
    attempt=2,
    allocation=Allocation(1, Bytes(2), Bytes(3), ("GPU-1",)),
    phase=Phase.RUNNING,
    workspace=Path("/work/x"),
    environment="e",
    claimed_at=1.5,
    started_at=2.5,
    stop=Cause.CANCELLED,
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Bytes of the message included; only the daemon may read it."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    assert list(records.read_all()) == [RECORD]
    file = records.place("r1") / "record.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_share_of_a_card_is_kept(tmp_path: Path) -> None:
    """The next daemon has to know what of a card is taken, and by which group."""
    share = Allocation(1, Bytes(2), Bytes(3), ("GPU-1",), 4, Bytes(5), "local//q", (3,), (7, 8))
    records = Records(tmp_path / "runs")
    records.write(RECORD.but(allocation=share))
    (read,) = records.read_all()
    assert read.allocation == share


def test_the_trace_that_a_message_names_is_kept(tmp_path: Path) -> None:
    """The next daemon goes on in it; records of earlier ones name none."""
    records = Records(tmp_path / "runs")
    named = Message("m", b"", "local_q", traceparent="00-a-b-01")
    records.write(RECORD.but(message=named))
    (read,) = records.read_all()
    assert read.message == named
    file = records.place("r1") / "record.json"
    document = json.loads(file.read_text())
    del document["message"]["traceparent"]
    file.write_text(json.dumps(document))
    (read,) = records.read_all()
    assert read.message.traceparent == ""


def test_the_user_of_a_run_is_kept(tmp_path: Path) -> None:
    """Nobody else is to become that user before the adopted run has ended."""
    records = Records(tmp_path / "runs")
    records.write(RECORD.but(identity=Identity(61001, 61000)))
    (read,) = records.read_all()
    assert read.identity == Identity(61001, 61000)


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It knew whole cards alone, not where their nodes are, and one user for all experiments."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    file = records.place("r1") / "record.json"
    known = json.loads(file.read_text())
    for name in ("gpu_slots", "gpu_memory", "gpu_group", "gpu_minors", "gpu_capabilities"):
        del known["allocation"][name]
    del known["identity"]
    file.write_text(json.dumps(known))
    assert list(records.read_all()) == [RECORD]


async def test_a_record_of_a_later_version_is_left_to_it(tmp_path: Path) -> None:
    """Who goes back to an earlier version by mistake may come forward again."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    later = records.place("r2") / "record.json"
    later.write_text('{"version": 2, "run": "r2"}')
    assert list(records.read_all()) == [RECORD]
    assert not await records.clear()
    assert later.exists()


def wrecked(field: str, value: object) -> bytes:
    """Return a record of the run r2 of which one field, at any depth, is what it cannot be."""
    document = json.loads(_written(RECORD.but(run="r2")))
    place, _, name = field.rpartition(".")
    (document[place] if place else document)[name] = value
    return json.dumps(document).encode()


def _written(record: Record) -> str:
    with tempfile.TemporaryDirectory() as directory:
        records = Records(Path(directory))
        records.write(record)
        return (records.place(record.run) / "record.json").read_text()


NO_RECORDS = {
    "empty": b"",
    "half": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no text": b"\xff\x00",
    "one field": b'{"run": "r2"}',
    "another run's": wrecked("run", "r1"),
    "no run of here": wrecked("run", "../r2"),
    **{
        f"{field} {value!r:.9}": wrecked(field, value)
        for field, value in (
            ("attempt", -1),
            ("attempt", "1"),
            ("claimed_at", float("nan")),
            ("claimed_at", 1e308),
            ("phase", "nowhere"),
            ("stop", "for fun"),
            ("identity", [-1, 0]),
            ("identity", [1]),
            ("workspace", 5),
            ("message.body", "no base64"),
            ("message.id", None),
            ("allocation.cores", -1),
            ("allocation.memory", 10**30),
            ("allocation.gpus", "GPU-1"),
            ("allocation", None),
        )
    },
}


@pytest.mark.parametrize("left", NO_RECORDS.values(), ids=list(NO_RECORDS))
async def test_what_is_no_record_is_removed(tmp_path: Path, left: bytes) -> None:
    """A power cut leaves such; no run can be known by it. It is said, once, in one line."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    (records.place("r2") / "record.json").write_bytes(left)
    (records.directory / "stray").write_text("no directory")
    os.mkfifo(records.directory / "pipe")
    assert list(records.read_all()) == [RECORD]
    with structlog.testing.capture_logs() as logged:
        assert await records.clear()
    assert [path.name for path in records.directory.iterdir()] == ["r1"]
    assert [(one["run"], one["log_level"]) for one in logged] == [("r2", "error")]


async def test_what_runs_without_a_record_is_ended(tmp_path: Path) -> None:
    """Nobody knows its share or its message, which will be run again."""
    records = Records(tmp_path / "runs")
    place = records.place("r2")
    (place / "record.json").write_text("{")
    mark = {os.fsdecode(processes.MARK): "r2"}
    async with await anyio.open_process(["sleep", "1000"], env=mark) as process:
        assert list(records.read_all()) == []
        assert await records.clear()
        assert await process.wait() == -signal.SIGKILL
    assert not place.exists()


async def test_what_the_disk_does_not_give_now_is_left_alone(tmp_path: Path) -> None:
    """Its run may be alive, and knows by its directory that it is to stop, and where to report."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    (records.place("r2") / "record.json").mkdir()  # fails to be read, as on a bad sector
    (records.place("r2") / "supervisor.json").write_text("{}")
    with structlog.testing.capture_logs() as logged:
        assert list(records.read_all()) == [RECORD]
        assert not await records.clear()
    assert (records.directory / "r2" / "supervisor.json").exists()
    assert [(one["run"], one["log_level"]) for one in logged] == [("r2", "error")]


async def test_a_removed_record_is_gone_with_its_directory(tmp_path: Path) -> None:
    """Also with what the supervisor left beside it."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    (records.place("r1") / "tail.0").write_bytes(b"x")
    await records.remove("r1")
    await records.remove("r1")
    assert list(records.directory.iterdir()) == []


def test_a_disk_that_takes_no_record_is_a_host_fault(tmp_path: Path) -> None:
    """It fails the attempt before its run, and ends no run that is under way."""
    records = Records(tmp_path / "runs")
    (records.directory / "r1").write_text("in the way")
    with pytest.raises(HostFault, match="run record r1"):
        records.write(RECORD)
    entry = Entry(RECORD)
    entry.note(records, phase=Phase.FINISHING)
    assert entry.record.phase is Phase.FINISHING
