"""Progress: who beats, who is stuck, and what is said of it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.ownership.pulse import PATIENCE, Organ, Pulse, beat_on


class Clock:
    """Seconds that pass when we say so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_silence_is_trouble_and_a_beat_ends_it() -> None:
    """Each part for itself; at first all count as having just beaten."""
    clock = Clock()
    pulse = Pulse(clock)
    clock.now += PATIENCE.total_seconds()
    assert pulse.trouble() == ""
    clock.now += 1
    pulse.beat(Organ.KEEPER)
    assert pulse.trouble() == "the main loop has made no progress for 31 s"
    assert pulse.trouble(timedelta(minutes=1)) == ""
    assert pulse.silence(Organ.KEEPER) == timedelta(0)
    pulse.beat(Organ.MAIN_LOOP)
    assert pulse.trouble() == ""


@pytest.mark.anyio
async def test_the_keeper_beats_on_its_own_thread() -> None:
    """A main loop that stands still is no trouble of the keeper's, and is told of by its lag."""
    late: list[float] = []
    beaten = threading.Event()

    class Watched(Pulse):
        def beat(self, organ: Organ) -> None:
            super().beat(organ)
            if organ is Organ.KEEPER and threading.current_thread() is not main:
                beaten.set()

    main = threading.current_thread()
    pulse = Watched(late=late.append, every=timedelta(seconds=0.1))
    async with anyio.create_task_group() as group, Keeper(pulse):
        group.start_soon(beat_on, pulse, Organ.MAIN_LOOP)
        await anyio.lowlevel.checkpoint()
        assert beaten.wait(60)
        beaten.clear()
        time.sleep(0.5)  # noqa: ASYNC251 - this is what is tried: it blocks the main loop
        assert beaten.wait(60)
        with anyio.fail_after(60):
            while not late:  # noqa: ASYNC110 - the beat tells nobody else
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert max(late) > 0.1


def test_what_a_restart_alone_mends_is_trouble_however_well_all_goes_on() -> None:
    """The watchdog and the health of the listener ask nobody else."""
    lost = ["the state directory is gone"]
    pulse = Pulse(lost=lost.pop)
    assert pulse.trouble() == "the state directory is gone"
