"""Shares of the machine: counted by the ledger, charged to who has them, bounded in number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from runner.lifecycle.claiming import admission
from runner.lifecycle.claiming.seats import LEAST, Seat
from runner.lifecycle.claiming.shares import share_of
from runner.lifecycle.claiming.turns import Turns
from runner.model import Allocation, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve


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

    @property
    def gpu_reserve(self) -> GpuReserve:
        """What experiments without a card leave free for cards."""

    @property
    def withheld(self) -> Mapping[str, str]:
        """Cards that are given to nobody now, with the reasons."""

    def gpus_beside(self, held: Iterable[Allocation]) -> tuple[Gpu, ...]:
        """All cards as they would be if these shares alone were held."""

    def reserve(self, needs: Needs, *, may_use_reserve: bool = False) -> Allocation | None:
        """Take a share, or nothing."""

    def equip(
        self, allocation: Allocation, needs: Needs, *, among: Collection[str] | None = None
    ) -> Allocation | None:
        """Add cards to a share; what is returned takes its place."""

    def unequip(self, allocation: Allocation) -> Allocation:
        """Take the cards out of a share; what is returned takes its place."""

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

    @property
    def is_full(self) -> bool:
        """There are as many as the operator allows."""
        return 0 < self._at_most <= self.ledger.held

    @property
    def slots(self) -> int:
        """Return how many experiments could begin now, at most."""
        cores = self.ledger.free.cores
        return min(cores, self._at_most - self.ledger.held) if self._at_most else cores

    def take(
        self, needs: Needs, seat: Seat | None = None, *, may_use_reserve: bool = False
    ) -> Allocation | None:
        """Take a share, charged to ``seat``, or nothing.

        What is not known yet may come to use what is kept for experiments with cards.
        """
        if self.is_full:
            return None
        may = may_use_reserve or needs is LEAST
        allocation = self.ledger.reserve(needs, may_use_reserve=may)
        if allocation is not None and seat is not None:
            self._charge(allocation, seat)
        return allocation

    def equip(
        self, allocation: Allocation, needs: Needs, among: Collection[str]
    ) -> Allocation | None:
        """Add cards out of ``among`` to a share, or nothing; what is returned takes its place."""
        equipped = self.ledger.equip(allocation, needs, among=among)
        if equipped is not None:
            self._charge_instead(allocation, equipped)
        return equipped

    def unequip(self, allocation: Allocation) -> Allocation:
        """Take the cards out of a share; what is returned takes its place."""
        bare = self.ledger.unequip(allocation)
        self._charge_instead(allocation, bare)
        return bare

    def adopt(self, allocation: Allocation, seat: Seat) -> None:
        """Take exactly this share: an adopted run has it already."""
        self.ledger.restore(allocation)
        self._charge(allocation, seat)

    def release(self, allocation: Allocation) -> None:
        """Give a share back."""
        self.ledger.release(allocation)
        self._discharge(allocation)

    def fits(self, needs: Needs) -> bool:
        """Tell whether so much is free now."""
        ledger = self.ledger
        reserve = GpuReserve() if needs is LEAST else ledger.gpu_reserve
        verdict = admission.decide(needs, ledger.free, ledger.total, reserve=reserve)
        return isinstance(verdict, admission.Fits)

    @property
    def keeps_for_cards(self) -> bool:
        """Something is free now, and only for experiments with a card."""
        free = self.ledger.free
        return self.ledger.gpu_reserve.beside(free) != free

    def has_room_for(self, *all_: Needs) -> bool:
        """Tell whether everything but cards is free for all of these together."""
        free, held = self.ledger.free, self.ledger.held
        return (
            sum(needs.cores for needs in all_) <= free.cores
            and sum(needs.memory for needs in all_) <= free.memory
            and sum(needs.disk for needs in all_) <= free.disk
            and (not self._at_most or held + len(all_) <= self._at_most)
        )

    def _charge_instead(self, before: Allocation, after: Allocation) -> None:
        seat = self._discharge(before)
        if seat is not None:
            self._charge(after, seat)

    def _discharge(self, allocation: Allocation) -> Seat | None:
        seat = self._charged.pop(id(allocation), None)
        if seat is not None:
            self._turns.end(seat, id(allocation), self._clock())
        return seat

    def _charge(self, allocation: Allocation, seat: Seat) -> None:
        self._charged[id(allocation)] = seat
        share = share_of(allocation, self.ledger.total)
        self._turns.begin(seat, id(allocation), share, self._clock())
