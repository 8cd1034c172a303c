"""Tests of what is remembered of queues that are somebody else's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runner.lifecycle.sources.aside import Aside


def test_it_is_remembered_over_restarts(tmp_path: Path) -> None:
    """Until the queue is named or deleted, nobody has to touch three messages of it again."""
    file = tmp_path / "aside.json"
    Aside(file).add("sqs:a/1/orders")
    again = Aside(file)
    assert set(again) == {"sqs:a/1/orders"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again.discard("sqs:a/1/orders")
    again.discard("another")
    assert len(Aside(file)) == 0


@pytest.mark.parametrize("torn", ["", "{", '{"a": 1}', "\x00"])
def test_a_torn_file_is_an_empty_one(tmp_path: Path, torn: str) -> None:
    """A crash of the machine costs no start."""
    file = tmp_path / "aside.json"
    file.write_text(torn)
    assert "x" not in Aside(file)


def test_a_disk_that_fails_costs_nothing(tmp_path: Path) -> None:
    """It is remembered for as long as the daemon runs."""
    aside = Aside(tmp_path / "missing" / "aside.json")
    aside.add("x")
    assert "x" in aside
