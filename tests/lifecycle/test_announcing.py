"""The end of an attempt is told, whatever becomes of its last lines."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.lifecycle.announcing import announce
from runner.lifecycle.board import Entry
from runner.lifecycle.runs.last_lines import LIMIT
from runner.model import Ack, Completed, Report
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Machine
from tests.lifecycle.records import a_record

pytestmark = pytest.mark.anyio


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


async def announced(machine: Machine, seconds: float, jump: float = 0.0) -> Report:
    """Announce the end of an attempt that printed something; return what was told.

    Since its claim somebody has set the clock, by so many seconds.
    """
    handling, _ = await machine.handling(machine.box.message("print('x')"))
    record = handling.entry.record
    handling.entry.record = record.but(claimed_at=record.claimed_at - jump)
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


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
async def test_a_clock_that_is_set_makes_nothing_last_longer(machine: Machine, jump: float) -> None:
    """Nor shorter than nothing: what is told was measured by a clock that nobody sets."""
    told = (await announced(machine, PATIENCE, jump)).result
    assert told is not None
    assert 0 <= told.seconds < 3600
    assert 0 <= machine.parts.history.endings[-1].seconds < 3600


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_what_an_earlier_daemon_began_has_lasted_as_its_record_says(jump: float) -> None:
    """There is no other clock to go by; but nothing has lasted for less than no time."""
    entry = Entry(a_record("r", claimed_at=time.time() - jump), is_adopted=True)
    assert max(0.0, jump) <= entry.seconds < max(0.0, jump) + 3600
