"""The record of a run of which a test wants to know nothing in particular."""

from __future__ import annotations

from typing import Any

from runner.lifecycle.runs.record import Record
from runner.model import Allocation, Bytes, Message


def a_record(run: str, **changes: Any) -> Record:
    """Return a first attempt that has a core; ``changes`` are fields of the record."""
    record = Record(
        run=run,
        message=Message("id", b"", "local_test", 1),
        broker="local",
        project="p",
        token="",
        key=run,
        experiment_project="",
        attempt=1,
        allocation=Allocation(1, Bytes(0), Bytes(0)),
    )
    return record.but(**changes)
