"""An end that does not wait: everything is stopped, and what is not stored in time is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from runner.lifecycle.board import Board

#: Of the time there is: for the settling, and at most for a run's end.
_FOR_SETTLING, _FOR_ENDING = 0.2, 0.25
_SHORTEST_SETTLING, _LONGEST_SETTLING = timedelta(seconds=1), timedelta(seconds=20)
#: Of the time for settling, one try at the claim record, and one at the broker.
_TRIES = 3
#: A stop takes no longer than this, however much time there is: until then runs may end.
LONGEST_STOP = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Haste:
    """How little time there is, and how it is shared out. Pure."""

    #: For people.
    why: str
    #: Until all is given back.
    left: timedelta

    @property
    def settling(self) -> timedelta:
        """At the end of it: for claim records and brokers, and for the daemon's own end."""
        wanted = min(max(self.left * _FOR_SETTLING, _SHORTEST_SETTLING), _LONGEST_SETTLING)
        return min(wanted, self.left / 2)

    @property
    def storing(self) -> timedelta:
        """From now on: for the ends of runs, and for what they made."""
        return self.left - self.settling

    def grace(self, usual: timedelta) -> timedelta:
        """Return the time between TERM and KILL where it is ``usual`` else."""
        return min(usual, self.left * _FOR_ENDING)

    @property
    def longest_try(self) -> float:
        """Return the seconds for one try."""
        return max(1.0, self.settling.total_seconds() / _TRIES)


def waits(left: timedelta) -> timedelta:
    """Return how long runs may go on before they are stopped, with ``left`` in all."""
    return max(timedelta(0), left - LONGEST_STOP)


@dataclass(eq=False)
class Rush:
    """Presses everything on the board, as soon as there is reason to."""

    board: Board
    kill_grace: timedelta
    clock: Callable[[], float] = anyio.current_time
    #: ``None``: there is time.
    haste: Haste | None = None
    _until: float = float("inf")
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def hurry(self, haste: Haste) -> None:
        """Have all given back within ``haste.left``; of several the earliest end counts."""
        until = self.clock() + haste.storing.total_seconds()
        if until >= self._until:
            return
        self.haste, self._until = haste, until
        self.press()
        self._changed.set()

    def press(self) -> None:
        """Tell whoever is on the board now."""
        haste = self.haste
        if haste is None:
            return
        for entry in self.board:
            entry.stopper.hasten(haste.grace(self.kill_grace), haste.longest_try)

    async def watch(self) -> None:
        """Give up what is not stored in time, also of those who come late; until cancelled."""
        while True:
            self._changed = anyio.Event()
            with anyio.CancelScope(deadline=self._until):
                await self._changed.wait()
                continue
            for entry in self.board:
                entry.stopper.give_up()
            await anyio.sleep(0.1)
