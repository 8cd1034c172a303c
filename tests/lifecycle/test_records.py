"""The run record is whole or absent, and gone at once when the run is settled."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import structlog.testing

from runner.errors import HostFault
from runner.lifecycle.board import Entry
from runner.lifecycle.runs.record import Phase, Records
from runner.model import Allocation, Bytes, Cause, Identity, Message
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


def test_a_record_of_a_later_version_is_left_to_it(tmp_path: Path) -> None:
    """Who goes back to an earlier version by mistake may come forward again."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    later = records.place("r2") / "record.json"
    later.write_text('{"version": 2, "run": "r2"}')
    assert list(records.read_all()) == [RECORD]
    assert later.exists()


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"run": "r2"}'])
def test_what_is_no_record_is_removed(tmp_path: Path, left: bytes) -> None:
    """A power cut leaves such; no run can be known by it."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    (records.place("r2") / "record.json").write_bytes(left)
    (records.directory / "stray").write_text("no directory")
    assert list(records.read_all()) == [RECORD]
    assert not (records.directory / "r2").exists()


def test_what_the_disk_does_not_give_now_is_left_alone(tmp_path: Path) -> None:
    """Its run may be alive, and knows by its directory that it is to stop, and where to report."""
    records = Records(tmp_path / "runs")
    records.write(RECORD)
    (records.place("r2") / "record.json").mkdir()  # fails to be read, as on a bad sector
    (records.place("r2") / "supervisor.json").write_text("{}")
    with structlog.testing.capture_logs() as logged:
        assert list(records.read_all()) == [RECORD]
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
