"""Whether the daemon makes progress: beats of its main loop and of the keeper's thread.

One notion for everybody who asks: ``/healthz`` of the web listener, and the watchdog of systemd.
An event loop that turns beats every few seconds; one that is blocked, or whose thread has died,
does not. A broker or a store that does not answer is no lack of progress: whoever waits for it lets
the loop turn.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

#: Silent for longer, an organ counts as stuck: several times what a busy machine is ever late by.
PATIENCE = timedelta(seconds=30)
#: Often enough for that, and too seldom to be seen among what an idle daemon does.
_EVERY = timedelta(seconds=5)


class Organ(enum.StrEnum):
    """What has to go on for the daemon to be of use; the values are for people."""

    #: Receives, runs, stores, and answers the command line.
    MAIN_LOOP = "main loop"
    #: Renews leases and settles messages, on a loop and a thread of its own.
    KEEPER = "keeper"


@dataclass(eq=False)
class Pulse:
    """When each organ last made progress; one per daemon (``Parts.pulse``), usable in any thread.

    ``trouble()`` is the whole question: an empty string says that all is well, anything else is
    the sentence to show, and the reason to withhold ``WATCHDOG=1``. At its making every organ
    counts as having just beaten.
    """

    #: Seconds that only grow.
    clock: Callable[[], float] = time.monotonic
    #: Told by how many seconds a beat of the main loop came late: the lag of its event loop.
    late: Callable[[float], None] = lambda _: None
    every: timedelta = _EVERY
    #: Says of what a restart is the only remedy, however well all goes on; mostly nothing.
    lost: Callable[[], str] = str
    _beats: dict[Organ, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for organ in Organ:
            self.beat(organ)

    def beat(self, organ: Organ) -> None:
        """Note that an organ makes progress now."""
        self._beats[organ] = self.clock()

    def silence(self, organ: Organ) -> timedelta:
        """Return how long ago an organ last made progress."""
        return timedelta(seconds=max(0.0, self.clock() - self._beats[organ]))

    def trouble(self, patience: timedelta = PATIENCE) -> str:
        """Say which organs are stuck, and what else a restart alone mends; empty: all is well."""
        silences = [(organ, self.silence(organ)) for organ in Organ]
        stuck = [
            f"the {organ} has made no progress for {silence.total_seconds():.0f} s"
            for organ, silence in silences
            if silence > patience
        ]
        return "; ".join(filter(None, [self.lost(), *stuck]))


async def beat_on(pulse: Pulse, organ: Organ) -> None:
    """Beat on the event loop that this runs on, until cancelled."""
    seconds = pulse.every.total_seconds()
    while True:
        pulse.beat(organ)
        due = pulse.clock() + seconds
        await anyio.sleep(seconds)
        if organ is Organ.MAIN_LOOP:
            pulse.late(max(0.0, pulse.clock() - due))
