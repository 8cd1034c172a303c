"""Shares of the machine: counted by the ledger, charged to who has them, bounded in number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from runner.lifecycle import admission
from runner.lifecycle.seats import Room, Seat
from runner.lifecycle.shares import share_of
from runner.lifecycle.turns import Turns
from runner.model import Allocation, Capacity, Needs


class Ledger(Protocol):
    """What the intake needs of ``resources.ledger.Ledger``."""

    @property
    def free(self) -> Capacity:
        """What is not allocated."""

    @property
    def total(self) -> Capacity:
        """What may be allocated in all."""

    @property
    def held(self) -> int:
        """How many shares are allocated."""

    def reserve(self, needs: Needs) -> Allocation | None:
        """Take a share, or nothing."""

    def release(self, allocation: Allocation) -> None:
        """Give a share back."""

    def restore(self, allocation: Allocation) -> None:
        """Take exactly this share: an adopted run has it already."""


class Allotting:
    """Gives shares of the ledger, at most so many at a time."""

    def __init__(
        self, ledger: Ledger, turns: Turns, at_most: int, clock: Callable[[], float]
    ) -> None:
        """``at_most`` 0: as many as there is room for."""
        self.ledger = ledger
        self._turns = turns
        self._at_most = at_most
        self._clock = clock
        #: By the allocation's ``id``: whom it is charged to.
        self._charged: dict[int, Seat] = {}

    def take(self, needs: Needs, seat: Seat | None = None) -> Allocation | None:
        """Take a share, charged to ``seat``, or nothing."""
        if 0 < self._at_most <= self.ledger.held:
            return None
        allocation = self.ledger.reserve(needs)
        if allocation is not None and seat is not None:
            self._charge(allocation, seat)
        return allocation

    def adopt(self, allocation: Allocation, seat: Seat) -> None:
        """Take exactly this share: an adopted run has it already."""
        self.ledger.restore(allocation)
        self._charge(allocation, seat)

    def release(self, allocation: Allocation) -> None:
        """Give a share back."""
        self.ledger.release(allocation)
        seat = self._charged.pop(id(allocation), None)
        if seat is not None:
            self._turns.end(seat, id(allocation), self._clock())

    def room(self, allows: Callable[[Seat], bool]) -> Room:
        """Return what could be given now."""
        free, total = self.ledger.free, self.ledger.total
        slots = free.cores
        if self._at_most:
            slots = min(slots, self._at_most - self.ledger.held)

        def fits(needs: Needs) -> bool:
            return isinstance(admission.decide(needs, free, total), admission.Fits)

        return Room(slots, fits, allows)

    def _charge(self, allocation: Allocation, seat: Seat) -> None:
        self._charged[id(allocation)] = seat
        share = share_of(allocation, self.ledger.total)
        self._turns.begin(seat, id(allocation), share, self._clock())
