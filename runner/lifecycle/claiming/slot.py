"""Room that a message was received with, until it is known what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.lifecycle.claiming.seats import Seat
from runner.model import Allocation, Needs

if TYPE_CHECKING:  # which makes slots
    from runner.lifecycle.claiming.intake import Intake


class Slot:
    """Room that was given before the message is known; grows into what the request needs.

    It is empty where the message came on an open receive while the last slot was taken: then it
    waits as one does that is too big for now.
    """

    def __init__(self, intake: Intake, allocation: Allocation | None, seat: Seat) -> None:
        self._intake = intake
        self._allocation = allocation
        self._seat = seat

    def grow(self, needs: Needs) -> Allocation | None:
        """Exchange the slot for ``needs`` in one step; ``None`` when there is not enough."""
        self._seat.wants = needs
        may = self._give_back_quietly() or self._intake.may_take(self._seat)
        allocation = self._intake.take(needs, self._seat) if may else None
        self._intake.look()
        return allocation

    async def reserved(self, needs: Needs) -> Allocation | None:
        """Give the slot back and wait with the reservation; ``None`` when that cannot be had."""
        self.give_back()
        return await self._intake.reserved(needs, self._seat)

    def give_back(self) -> None:
        """Return what is left of the slot, if anything, and wake who waits."""
        if self._give_back_quietly():  # the message was none that needs room
            self._intake.want.end(self._seat)
            self._intake.look()

    def _give_back_quietly(self) -> bool:
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            self._intake.release(allocation, quietly=True)
        return allocation is not None
