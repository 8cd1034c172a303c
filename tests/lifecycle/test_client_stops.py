"""``studio-runs stop`` is heard wherever an attempt stands: queued, made ready, or running."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, Json
from tests.lifecycle.machine import Machine, seen

pytestmark = pytest.mark.anyio

_LONG = "import time; print('begun', flush=True); time.sleep(1000)"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


def status_of(machine: Machine, message: Json) -> Path:
    """Return where the client's object lies."""
    return machine.box.root / "store/meta/experiments" / str(message["experiment"]["key"])


async def test_what_was_stopped_in_its_queue_ends_as_it_begins(machine: Machine) -> None:
    """Nobody waits for the next look: its status is read anyway when the run is shown."""
    message = machine.box.message(_LONG, status="stopped")
    letter = await machine.handle(message)
    assert (letter.settled, machine.ends) == (["ack"], ["cancelled"])
    document = json.loads(status_of(machine, message).read_text())
    assert document["status"] == "finished"
    assert document["runner"]["outcome"] == "stopped"
    assert document["runner"]["detail"] == "its status was set to stopped"
    await machine.check_clean()


@pytest.mark.parametrize("point", ["read workspace", "build"])
async def test_what_is_stopped_while_it_is_made_ready_never_runs(
    machine: Machine, point: str
) -> None:
    """A long download, or a long build, ends for it."""
    message = machine.box.message(_LONG)
    reached = machine.points.holds(point)
    async with machine.handled(message, lambda: seen(reached.is_set)) as letter:
        stopped = {**message["experiment"], "status": "stopped"}
        status_of(machine, message).write_text(json.dumps(stopped))
    assert (letter.settled, machine.ends) == (["ack"], ["cancelled"])
    assert "report started" not in machine.points.passed
    await machine.check_clean()
