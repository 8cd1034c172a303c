"""When a failed call is made again: growing pauses with full jitter, patience with what progresses.

The decisions are pure; ``Attempts`` puts them into effect for all threads of one transfer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from runner.blocking import Stop
from runner.errors import StoreUnavailable
from runner.stores.remote.client import Absent, Busy, Lasting
from runner.wires import Wire

T = TypeVar("T")

#: Seconds of failures that nobody is told of: most are over by then.
_QUIET = 2.0


def _nobody(_: StoreUnavailable) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long to try; all in seconds."""

    #: The first pause is drawn from 0 to this, each further from twice as much.
    first: float = 0.25
    #: No pause is longer, but for what the store asks for.
    longest: float = 15.0
    #: A transfer in which no byte came or went for so long is given up.
    patience: float = 90.0
    #: The same before the first byte where nobody is there, if that is less: who sits and waits
    #: may have misspelt the host, and who need not wait may find it come back.
    absence: float = 90.0
    #: Is told of a failure that has lasted for a while, each time that it is tried again.
    told: Callable[[StoreUnavailable], None] = _nobody

    def pause(self, tries: int, chance: float, asked: float = 0.0) -> float:
        """Return how long to wait after ``tries`` failures in a row; ``chance`` is below 1.

        A store that names a time is left alone for that long, and jitter comes on top: else all
        who were sent away would come back together.
        """
        ceiling: float = min(self.longest, self.first * 2 ** min(tries - 1, 30))
        return asked + ceiling * chance

    def gives_up(self, still: float, pause: float, *, is_absent: bool = False) -> bool:
        """Tell whether to give up after ``still`` seconds without progress and another pause."""
        absence = self.absence if is_absent else self.patience
        return still + pause > min(self.patience, absence)


@dataclass(slots=True)
class Attempts:
    """The tries of one transfer, by all of its threads."""

    stop: Stop
    plan: Plan = field(default_factory=Plan)
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    _moved: float = field(init=False)
    _has_moved: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._moved = self.clock()

    def progressed(self) -> None:
        """Note that bytes came or went."""
        self._moved = self.clock()
        self._has_moved = True

    def after(self, error: StoreUnavailable, tries: int) -> None:
        """Pause after the failure number ``tries`` in a row, or raise it for good."""
        self.stop.check()
        if isinstance(error, Lasting):
            raise error
        asked = error.after if isinstance(error, Busy) else 0.0
        pause = self.plan.pause(tries, self.chance(), asked)
        still = self.clock() - self._moved
        is_absent = isinstance(error, Absent) and not self._has_moved
        if self.plan.gives_up(still, pause, is_absent=is_absent):
            raise error
        if still + pause > _QUIET:
            self.plan.told(error)
        self.stop.pause(pause)

    def run(self, function: Callable[[], T], *, grace: float = 0.0) -> T:
        """Call until it does not fail with StoreUnavailable; the stop cuts its connections.

        With ``grace`` it does so that many seconds later: what is just done is done then.
        """
        return self.repeat(lambda: self.once(function, grace=grace))

    def once(self, function: Callable[[], T], *, grace: float = 0.0) -> T:
        """Call a single time; the stop cuts its connections."""
        with ExitStack() as during:
            return self.held(during, function, grace=grace)

    def repeat(self, function: Callable[[], T]) -> T:
        """Call a function that lets itself be cut until it does not fail with StoreUnavailable."""
        tries = 0
        while True:
            try:
                result = function()
            except StoreUnavailable as error:
                tries += 1
                self.after(error, tries)
            else:
                self.progressed()
                return result

    def held(self, during: ExitStack, function: Callable[[], T], *, grace: float = 0.0) -> T:
        """Call a single time; its connection can be cut until ``during`` is closed.

        What a function that was cut raises is Interrupted: an SDK may make anything of it.
        """
        self.stop.check()
        wire = Wire()

        def later() -> None:
            threading.Timer(grace, wire.cut).start()

        during.callback(wire.release)
        during.enter_context(self.stop.calling(later if grace else wire.cut))
        try:
            with wire:
                return function()
        except Exception:
            self.stop.check()
            raise
