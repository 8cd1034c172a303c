"""What the service manager hears while the daemon serves: ready, how it stands, alive, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner.app import notify
from runner.app.notify import Notify
from runner.lifecycle.loop import Loop
from runner.lifecycle.ownership.pulse import Pulse
from runner.lifecycle.runs.record import Phase

#: Between two looks: one a second would be half of what an idle daemon costs.
_TICK = 5.0
#: While draining we ask for so much at a time, and again long before it is over.
_MORE_TIME, _AGAIN = timedelta(seconds=60), 10.0


@dataclass(eq=False)
class Heartbeat:
    """Decides what is to be said now; ``beat`` says it."""

    notify: Notify
    pulse: Pulse
    #: How the daemon stands, in one line.
    sentence: Callable[[], str]
    is_ending: Callable[[], bool]
    #: Seconds that only grow.
    clock: Callable[[], float] = time.monotonic
    _said: str = ""
    _alive_at: float = float("-inf")
    _more_at: float = float("-inf")
    _has_told_end: bool = False

    async def beat(self) -> None:
        """Say that we are ready, and then go on until cancelled."""
        self.notify.say(notify.READY, *self.due())
        watchdog = self.notify.watchdog
        tick = min(_TICK, watchdog.total_seconds() / 4) if watchdog else _TICK
        try:
            while True:
                # Where nobody listens, nobody is to be woken for it.
                await (anyio.sleep(tick) if self.notify else anyio.sleep_forever())
                self.notify.say(*self.due())
        except anyio.get_cancelled_exc_class():
            # Not on a reload, in the midst of which nothing ends; nor where a defect ends it.
            if not self._has_told_end:
                self.notify.say(notify.STOPPING)
            raise

    def due(self) -> list[str]:
        """Return what is to be said now.

        Signs of life only while every part of us makes progress (``Pulse``): being restarted is
        all that helps a daemon that is stuck, and its runs go on meanwhile.
        """
        trouble = self.pulse.trouble()
        return [*self._news(trouble), *self._life(trouble), *self._end()]

    def _news(self, trouble: str) -> Iterator[str]:
        sentence = trouble or self.sentence()
        if sentence != self._said:
            self._said = sentence
            yield notify.status(sentence)

    def _life(self, trouble: str) -> Iterator[str]:
        watchdog, now = self.notify.watchdog, self.clock()
        if watchdog and not trouble and now >= self._alive_at:
            self._alive_at = now + watchdog.total_seconds() / 2
            yield notify.ALIVE

    def _end(self) -> Iterator[str]:
        if not self.is_ending():
            return
        if not self._has_told_end:
            self._has_told_end = True
            yield notify.STOPPING
        now = self.clock()
        if now >= self._more_at:
            self._more_at = now + _AGAIN
            yield notify.more_time(_MORE_TIME)


async def beat(manager: Notify, loop: Loop) -> None:
    """Tell the service manager, where there is one, about a daemon that serves."""
    if manager:
        redact = loop.parts.redactor.redact
        await Heartbeat(
            manager,
            loop.parts.pulse,
            sentence=lambda: redact(sentence(loop)),
            is_ending=lambda: loop.is_draining,
        ).beat()


def sentence(loop: Loop) -> str:
    """Say how the daemon stands."""
    intake = loop.parts.intake
    phases = [entry.record.phase for entry in loop.parts.board]
    running = phases.count(Phase.RUNNING)
    others = len(phases) - running
    what = f"{running} running" + (f", {others} coming or going" if others else "")
    if loop.is_stopping:
        return f"stopping: {what}"
    if loop.is_draining:
        return f"draining: {what}"
    complaint = f"; nothing is claimed: {intake.complaint}" if intake.complaint else ""
    queues = len(loop.queues)
    return f"{what}; takes from {queues} queue{'' if queues == 1 else 's'}{complaint}"
