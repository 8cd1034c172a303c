"""The machine's one reservation: for a message in hand that is too big now, and for its queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from runner.lifecycle.claiming.line import Line
from runner.lifecycle.claiming.seats import LEAST, Seat
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
    #: It has waited before, and went back.
    is_owed: bool
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

    Nobody, that is, who could take something of what it waits for: while it lacks cards alone,
    experiments that need none of them go on.

    A message is not held for ever: another machine may have room for it. When it went back without
    having started, its queue keeps the reservation, as old as it is, and alone has turns: either it
    brings the message again, or it is empty, and the reservation is void.
    """

    def __init__(self, line: Line, patience: float, clock: Callable[[], float]) -> None:
        self._line = line
        self._patience = patience
        self._clock = clock
        self._held: _Held | None = None
        self._owed: _Owed | None = None

    def serve(self) -> None:
        """Give it what it waits for, if that is free."""
        held = self._held
        if held is None or held.ended.is_set():
            return
        since = held.since if held.is_owed else None
        held.allocation = self._line.claim(held.needs, held.seat, since)
        if held.allocation is not None:
            held.ended.set()

    def lets_pass(self, seat: Seat | None, known: dict[Needs, bool] | None = None) -> bool:
        """Tell whether this queue may have a turn, or anybody where it is ``None``.

        Nobody has to wait for cards that are not given out, nor for one without a card while
        something is kept for cards: what comes may be for these. And while only cards are awaited,
        a queue goes on of which the last message needed nothing that the awaited one could use.
        ``known`` keeps what was found for other queues, as long as nothing changes.
        """
        awaited = self._awaited(seat)
        if awaited is None:
            return True
        if not awaited.gpu_count:
            return self._line.keeps_for_cards
        known = {} if known is None else known
        wanted = (seat.wants if seat is not None else None) or LEAST
        if wanted not in known:
            known[wanted] = self._line.leaves(wanted, awaited)
        return known[wanted]

    def lets_take(self, seat: Seat, needs: Needs) -> bool:
        """Tell whether what came on such a turn may start: not if it needs no card either.

        Nor if it would take what is awaited.
        """
        awaited = self._awaited(seat)
        if awaited is None:
            return True
        if not awaited.gpu_count:
            return bool(needs.gpu_count) or not self._line.keeps_for_cards
        return self._line.leaves(needs, awaited)

    def _awaited(self, seat: Seat | None) -> Needs | None:
        """Return what was waited for so long that others, but not its own queue, wait for it."""
        now = self._clock()
        held, owed = self._held, self._owed
        if held is not None and not held.ended.is_set() and now - held.since >= self._patience:
            return held.needs
        if owed is None or owed.seat is seat:
            return None
        age = now - owed.since
        return None if age < self._patience or age > LONGEST_DEBT else owed.needs

    def owed_since(self, seat: Seat, needs: Needs) -> float | None:
        """Return since when the queue waits for so much, where it has got nothing but its wish."""
        owed = self._owed
        is_it = owed is not None and owed.seat is seat and _is_as_big(needs, owed.needs)
        return owed.since if owed is not None and is_it else None

    def owe(self, seat: Seat, needs: Needs, since: float) -> None:
        """Keep the reservation for a message that goes back, unless another's is kept.

        Who holds it now holds it still, and is the last before this one.
        """
        if self._is_for(seat):
            self._owed = _Owed(seat, needs, since, self._clock())

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
        owed = self._owed if self._owed is not None and self._owed.seat is seat else None
        since = owed.since if owed is not None else self._clock()
        self._held = held = _Held(needs, seat, since, is_owed=owed is not None)
        try:
            look()
            await held.ended.wait()
        except BaseException:
            if held.allocation is not None:
                self._line.release(held.allocation)
            elif seat is not None and self._is_for(seat):
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
