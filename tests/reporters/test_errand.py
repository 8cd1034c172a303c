"""Calls that are walked away from."""

from __future__ import annotations

import threading

import pytest

from runner.reporters.errand import Errands, StillBusy

pytestmark = pytest.mark.anyio


async def test_a_call_returns_and_raises_what_it_does() -> None:
    """One after the other, as often as anybody likes."""
    errands = Errands("test", seconds=20)
    for number in range(50):
        assert await errands.run(lambda number=number: number) == number  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        await errands.run(lambda: 1 / 0)


async def test_what_hangs_is_left_and_nothing_begins_beside_it() -> None:
    """Neither its time limit nor being cancelled waits for the thread; it ends in its own time."""
    errands, free = Errands("test", seconds=0.01), threading.Event()
    with pytest.raises(TimeoutError):
        await errands.run(free.wait)
    with pytest.raises(StillBusy):
        await errands.run(lambda: None)
    free.set()
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join()
    assert await errands.run(lambda: 1) == 1
