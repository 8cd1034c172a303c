"""What the demo shows; that it runs is tried by ``make demo``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.archives.pack import pack_single
from runner.cli.demo_board import Board, Trial
from runner.client.shop import LocalShop
from runner.lifecycle.history import Ending, History
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State

_RECORD = ClaimRecord("a", Owner("host", "daemon", "run"), submitted=1.0)
_LINES = '{"epoch": 1, "accuracy": 0.5}\n{"epoch": 2, "accuracy": 0.9}\nbye\n'


def _write(shop: LocalShop, record: ClaimRecord) -> None:
    place = shop.root / "storage/experiments/a"
    place.mkdir(parents=True, exist_ok=True)
    (place / "_claim.a.json").write_bytes(record.encode())


def test_a_trial_is_shown_from_waiting_to_its_end(tmp_path: Path) -> None:
    """Waiting, running, retrying, completed: with accuracy, duration and attempts."""
    shop = LocalShop(tmp_path)
    board = Board([Trial("a", "--x 1", 1.0, "id")], shop, tmp_path)
    assert board.rows({}) == [("a", "--x 1", "waiting", "", "", "")]
    _write(shop, _RECORD)
    (tmp_path / "output").write_text(_LINES)
    live = {"a": {"phase": "running", "output": str(tmp_path / "output")}}
    assert board.rows(live) == [("a", "--x 1", "running", "0.900", "", 1)]
    _write(shop, replace(_RECORD, state=State.RELEASED))
    assert board.rows({})[0][2] == "retrying"
    assert not board.is_over()
    with (tmp_path / "storage/experiments/a/output.tar").open("wb") as stream:
        pack_single(tmp_path / "output", stream)
    ending = Ending("a", "q", "", 2, "completed", 0, "", "acked", 9.0, 2.5)
    History(tmp_path / "recent.jsonl").add(ending)
    outcome = RecordedOutcome("completed", 0, "")
    _write(shop, replace(_RECORD, state=State.ENDED, attempt=2, outcome=outcome))
    assert board.rows({}) == [("a", "--x 1", "completed", "0.900", "2.5s", 2)]
    assert board.is_over()
    assert board.is_good()


def test_a_buried_trial_is_over_and_not_good(tmp_path: Path) -> None:
    """A message that reached the dead letters without a record does not hang the demo."""
    board = Board([Trial("a", "", 1.0, "id")], LocalShop(tmp_path), tmp_path)
    board.bury(["id"])
    assert board.is_over()
    assert not board.is_good()
    assert board.rows({})[0][2] == "buried"
