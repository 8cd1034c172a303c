"""The end of an attempt is told, whatever becomes of its last lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.lifecycle.announcing import announce
from runner.lifecycle.runs.last_lines import LIMIT
from runner.model import Ack, Completed, Report
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Machine

pytestmark = pytest.mark.anyio


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


async def announced(machine: Machine, seconds: float) -> Report:
    """Announce the end of an attempt that printed something; return what was told."""
    handling, _ = await machine.handling(machine.box.message("print('x')"))
    handling.entry.output = machine.box.root / "output"
    handling.entry.output.write_text("the last words\n")
    await announce(machine.parts, handling.entry, Completed(), Ack(), seconds=seconds)
    return machine.reports[-1]


async def test_an_end_is_told_with_its_last_lines(machine: Machine) -> None:
    """They are read once the attempt was settled."""
    told = (await announced(machine, PATIENCE)).result
    assert told is not None
    assert told.output == ("the last words",)


async def test_an_end_is_told_although_its_output_cannot_be_read(machine: Machine) -> None:
    """A disk on which reading takes too long costs the last lines, and not the news."""
    limiter, readers = LIMIT.limiter(), (object(), object())
    for one in readers:
        await limiter.acquire_on_behalf_of(one)
    told = (await announced(machine, 0.05)).result
    for one in readers:
        limiter.release_on_behalf_of(one)
    assert told is not None
    assert (told.outcome, told.output) == ("completed", ())
