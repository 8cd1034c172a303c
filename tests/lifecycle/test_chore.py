"""What goes on beside experiments may fail: it is told, and tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog.testing

from runner.errors import HostFault
from runner.lifecycle.chore import STEADY, Chore
from tests.lifecycle.machine import PATIENCE

pytestmark = pytest.mark.anyio


class Loop:
    """Something that goes on for ever, but for what it is to raise; waits take no time."""

    def __init__(self, *errors: Exception, lasts: Sequence[float] = ()) -> None:
        """``lasts``: how long each went well that fails."""
        self.errors = list(errors)
        self.lasts = list(lasts)
        self.goes_on = anyio.Event()
        self.begun = 0
        self.now = 0.0
        self.paused: list[float] = []

    async def run(self) -> None:
        """Fail, or go on."""
        self.begun += 1
        self.now += self.lasts.pop(0) if self.lasts else 0.0
        if self.errors:
            raise self.errors.pop(0)
        self.goes_on.set()
        await anyio.sleep_forever()

    async def pause(self, seconds: float) -> None:
        """Note what would have been waited."""
        self.paused.append(seconds)
        await anyio.lowlevel.checkpoint()

    async def see(self) -> Sequence[Mapping[str, Any]]:
        """Keep it going until it goes on; return what was said."""
        chore = Chore("counting sheep", self.run, clock=lambda: self.now, sleep=self.pause)
        with structlog.testing.capture_logs() as lines, anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(chore.keep)
                await self.goes_on.wait()
                group.cancel_scope.cancel()
        return lines


async def test_a_defect_ends_nothing_and_is_told_with_its_traceback() -> None:
    """Once, as long as it is the same; it is tried again, later each time."""
    loop = Loop(*[KeyError("sheep")] * 12, ValueError("wolf"))
    lines = await loop.see()
    assert [repr(line["exc_info"]) for line in lines] == ["KeyError('sheep')", "ValueError('wolf')"]
    assert lines[0]["doing"] == "counting sheep"
    assert lines[0]["event"].startswith("a defect of the runner")
    assert loop.paused[:11] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_what_went_well_for_a_while_begins_anew() -> None:
    """Trouble of last week is no reason to wait longer today, nor to say nothing."""
    loop = Loop(*[KeyError("sheep")] * 3, lasts=(0.0, 0.0, STEADY))
    lines = await loop.see()
    assert loop.paused == [1, 2, 1]
    assert len(lines) == 2


async def test_what_is_over_is_over() -> None:
    """Work that returns is done; trouble with the world has no traceback."""
    begun = []

    async def done() -> None:
        begun.append(1)
        if len(begun) == 1:
            raise HostFault("a broken disk")

    with structlog.testing.capture_logs() as lines, anyio.fail_after(PATIENCE):
        await Chore("once", done, "a_key", sleep=Loop().pause).keep()
    assert len(begun) == 2
    assert [(line["trouble"], line["key"]) for line in lines] == [("a broken disk", "a_key")]
    assert "exc_info" not in lines[0]


async def test_what_is_done_once_is_not_tried_again() -> None:
    """Several errors at once, as of a task group, are no other matter."""
    loop = Loop(ExceptionGroup("both", [KeyError("sheep"), ValueError("wolf")]))
    with structlog.testing.capture_logs() as lines:
        await Chore("counting sheep", loop.run).once()
    assert loop.begun == 1
    assert len(lines) == 1
