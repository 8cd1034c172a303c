"""Which cards are free, which will be soon, and which are given out at all."""

from __future__ import annotations

from collections.abc import Callable

from runner.lifecycle.claiming.allotting import Ledger
from runner.lifecycle.claiming.forecast import Forecast
from runner.lifecycle.claiming.seats import Seat
from runner.lifecycle.claiming.staging import Table
from runner.model import Allocation

_ENDLESS = float("inf")


class Outlook:
    """Knows who has had cards since when; everything else the ledger tells."""

    def __init__(
        self, ledger: Ledger, soon: float, tidying: float, clock: Callable[[], float]
    ) -> None:
        """``soon``: seconds; a card that is withheld for ``tidying`` seconds is broken."""
        self._ledger = ledger
        self._soon = soon
        self._tidying = tidying
        self._clock = clock
        #: Shares with cards, by ``id``.
        self._held: dict[int, Allocation] = {}
        self._forecast: Forecast[Seat] = Forecast()
        #: Since when each card is withheld, as far as we looked.
        self._withheld: dict[str, float] = {}

    def begin(self, allocation: Allocation, seat: Seat | None, at_most: float = _ENDLESS) -> None:
        """An experiment of the queue has its cards, for ``at_most`` seconds.

        Without a queue nobody knows since when, and nothing is learned from it.
        """
        if allocation.gpus:
            self._held[id(allocation)] = allocation
        if allocation.gpus and seat is not None:
            self._forecast.begin(id(allocation), seat, self._clock(), at_most)

    def end(self, allocation: Allocation) -> bool:
        """They come back; ``False`` where there were none."""
        self._forecast.end(id(allocation), self._clock())
        return self._held.pop(id(allocation), None) is not None

    def is_long(self, seat: Seat | None) -> bool:
        """Tell whether experiments of the queue keep their cards for longer than soon."""
        return seat is not None and self._forecast.typical(seat) > self._soon

    def table(self) -> Table:
        """Return the cards as they are now."""
        now = self._clock()
        broken = self._broken(now)
        left = self._forecast.left
        lasting = [one for share, one in self._held.items() if left(share, now) > self._soon]
        soon, reach = (
            tuple(card for card in self._ledger.gpus_beside(held) if card.uuid not in broken)
            for held in (lasting, ())
        )
        return Table(self._ledger.free.gpus, soon, reach)

    def _broken(self, now: float) -> set[str]:
        """Return what is withheld for longer than it takes to tidy up after a run."""
        withheld = self._ledger.withheld
        self._withheld = {uuid: self._withheld.get(uuid, now) for uuid in withheld}
        return {uuid for uuid, since in self._withheld.items() if now - since >= self._tidying}
