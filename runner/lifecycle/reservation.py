"""The machine's one reservation: for a message in hand that is too big now, and for its queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from runner.lifecycle.allotting import Allotting
from runner.lifecycle.seats import Seat
from runner.model import Allocation, Needs

#: Nobody keeps the machine waiting for longer than that.
LONGEST_DEBT = 86400.0
#: So long a message that went back may be hidden: its queue only looks empty.
_HIDDEN_SECONDS = 60.0


@dataclass(eq=False)
class _Held:
    """A message in hand waits."""

    needs: Needs
    seat: Seat | None
    since: float
    ended: anyio.Event = field(default_factory=anyio.Event)
    #: Stays empty when it was ended without room.
    allocation: Allocation | None = None


@dataclass(frozen=True, slots=True)
class _Owed:
    """A message had to go back; its queue is not put off by that."""

    seat: Seat
    needs: Needs
    since: float
    returned_at: float


class Reservation:
    """While it is young, smaller experiments may pass; after ``patience`` seconds nobody does.

    A message is not held for ever: another machine may have room for it. When it went back without
    having started, its queue keeps the reservation, as old as it is, and alone has turns: either it
    brings the message again, or it is empty, and the reservation is void.
    """

    def __init__(self, allotting: Allotting, patience: float, clock: Callable[[], float]) -> None:
        self._allotting = allotting
        self._patience = patience
        self._clock = clock
        self._held: _Held | None = None
        self._owed: _Owed | None = None

    def serve(self) -> None:
        """Give it what it waits for, if that is free."""
        held = self._held
        if held is None or held.ended.is_set():
            return
        held.allocation = self._allotting.take(held.needs, held.seat)
        if held.allocation is not None:
            held.ended.set()

    def lets_pass(self, seat: Seat | None) -> bool:
        """Tell whether this queue may have a turn, or anybody where it is ``None``."""
        now = self._clock()
        if self._held is not None:
            is_served = self._held.ended.is_set()
            return is_served or now - self._held.since < self._patience
        if self._owed is None or self._owed.seat is seat:
            return True
        age = now - self._owed.since
        return age < self._patience or age > LONGEST_DEBT

    def served(self, seat: Seat, needs: Needs) -> None:
        """Something of the queue starts; if it is what was waited for, nothing is owed any more."""
        owed = self._owed
        if owed is not None and owed.seat is seat and _is_as_big(needs, owed.needs):
            self._owed = None

    def is_empty(self, seat: Seat) -> None:
        """The queue has nothing: another machine may have taken what was waited for."""
        owed = self._owed
        if owed is not None and owed.seat is seat:
            is_hidden = self._clock() - owed.returned_at < _HIDDEN_SECONDS
            self._owed = owed if is_hidden else None

    def left(self, seat: Seat) -> None:
        """The queue is not followed any more."""
        if self._owed is not None and self._owed.seat is seat:
            self._owed = None

    def end(self) -> None:
        """Have nobody wait any more."""
        self._owed = None
        if self._held is not None:
            self._held.ended.set()

    async def wait(
        self, needs: Needs, seat: Seat | None, look: Callable[[], None]
    ) -> Allocation | None:
        """Wait for room; ``None`` when another has the reservation, or it was ended."""
        if self._held is not None or not self._is_for(seat):
            return None
        since = self._owed.since if self._owed is not None else self._clock()
        self._held = held = _Held(needs, seat, since)
        try:
            look()
            await held.ended.wait()
        except BaseException:
            if held.allocation is not None:
                self._allotting.release(held.allocation)
            elif seat is not None:
                self._owed = _Owed(seat, needs, since, self._clock())
            raise
        finally:
            self._held = None
            look()
        if seat is not None and held.allocation is not None:
            self.served(seat, needs)
        return held.allocation

    def _is_for(self, seat: Seat | None) -> bool:
        if self._owed is None or self._owed.seat is seat:
            return True
        return self._clock() - self._owed.since > LONGEST_DEBT


def _is_as_big(needs: Needs, others: Needs) -> bool:
    return needs.cores >= others.cores and needs.gpu_count >= others.gpu_count
