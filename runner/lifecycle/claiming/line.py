"""The line of those that were claimed and have no cards yet: they get them here, or go back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import anyio
import anyio.lowlevel

from runner import log
from runner.errors import Unavailable
from runner.lifecycle.claiming import staging
from runner.lifecycle.claiming.allotting import Allotting
from runner.lifecycle.claiming.outlook import Outlook
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.seats import Room, Seat
from runner.lifecycle.claiming.staging import Admission, Preparing
from runner.lifecycle.gpus.choice import choose_gpus, suitable
from runner.model import Allocation, Bytes, Needs

_log = log.get_logger(__name__)

#: A message that waited in vain is not seen before; another machine may take it.
_AGAIN = timedelta(seconds=30)


class NoCards(Unavailable):
    """The cards that it was made ready for are still busy."""

    def __init__(self, detail: str = "", delay: timedelta = timedelta(0)) -> None:
        """``delay``: how long the message is to be left alone."""
        super().__init__(detail)
        self.delay = delay


@dataclass(eq=False)
class Place:
    """The place of one experiment; it leaves the line with cards, or with a reason."""

    number: int
    needs: Needs
    seat: Seat | None
    #: With the cards, once it has left the line with them.
    allocation: Allocation
    #: Since when its patience is tried, on our clock; ``None``: it was never ready so far.
    since: float | None
    is_ready: bool = False
    #: Why it has to go back, and when it may be tried again.
    back: NoCards | None = None
    #: Seconds after which its run is ended at the latest.
    at_most: float = float("inf")
    equipped: anyio.Event = field(default_factory=anyio.Event)
    _scope: anyio.CancelScope | None = None

    @property
    def gone(self) -> NoCards:
        """The reason, once it has to go back."""
        return self.back or NoCards("it was given up", timedelta(0))

    @contextmanager
    def recallable(self) -> Iterator[None]:
        """Cancel the block when it has to go back: it may still be fetching."""
        with anyio.CancelScope() as self._scope:
            if self.back is not None:
                self._scope.cancel()
            yield

    def send_back(self, why: str, delay: timedelta = timedelta(0)) -> None:
        """End its waiting, or its being made ready."""
        self.back = NoCards(why, delay)
        if self._scope is not None:
            self._scope.cancel()


class Line:
    """Claims shares; those with cards only when the cards are there, or expected soon.

    With ``Rules.staged`` 0 nobody stands in line: a share is claimed with its cards.
    """

    def __init__(
        self, allotting: Allotting, rules: Rules, patience: float, clock: Callable[[], float]
    ) -> None:
        """After ``patience`` seconds of being ready an experiment is passed by nobody."""
        self._allotting = allotting
        self._rules = rules
        self._patience = patience
        self._clock = clock
        #: By the share's ``id``, in the order of their claims.
        self._places: dict[int, Place] = {}
        self._count = 0
        self._outlook = Outlook(allotting.ledger, rules.staging_seconds, patience, clock)
        #: One waited in vain: until a card comes back, no further one is made ready.
        self._is_barred = False
        #: Called when others may get room by what has happened.
        self.changed: Callable[[], None] = lambda: None
        #: Told of one that waited in vain.
        self.gave_up: Callable[[Seat, Needs, float], None] = lambda *_: None

    # ------------------------------------------------------------------ claims

    def room(self, allows: Callable[[Seat], bool]) -> Room:
        """Return what could be given now."""
        return Room(self._allotting.slots, self.admits, allows)

    def admits(self, needs: Needs) -> bool:
        """Tell whether so much could be claimed now."""
        if not self._is_in_line(needs):
            return self._allotting.fits(needs)
        has_the_rest = self._allotting.has_room_for(needs)
        return has_the_rest and self._admission(needs) is not Admission.NO

    def slot(self, needs: Needs) -> Allocation | None:
        """Take a share for a message that is not there yet; nothing is kept of its cards."""
        if self._is_in_line(needs):
            return self._allotting.take(_bare(needs), may_use_reserve=True)
        return self._allotting.take(needs)

    def claim(
        self, needs: Needs, seat: Seat | None = None, since: float | None = None
    ) -> Allocation | None:
        """Take a share for an experiment, or nothing; where cards are needed, it joins the line.

        ``since``: when it began to wait, where it has been ready before.
        """
        if not self._is_in_line(needs):
            return self._claimed_whole(needs, seat)
        admission = self._admission(needs)
        if admission is Admission.NO:
            return None
        # Whose cards are busy leaves what is kept for cards that are free.
        is_now = admission is Admission.NOW
        allocation = self._allotting.take(_bare(needs), seat, may_use_reserve=is_now)
        if allocation is not None:
            self._count += 1
            self._places[id(allocation)] = Place(self._count, needs, seat, allocation, since)
        return allocation

    def adopt(self, allocation: Allocation, seat: Seat) -> None:
        """Take exactly this share: an adopted run has it already, nobody knows since when."""
        self._allotting.adopt(allocation, seat)
        self._outlook.begin(allocation, None)

    def release(self, allocation: Allocation) -> None:
        """Take a share back, also one that is still in line."""
        self._places.pop(id(allocation), None)
        self._note_end(allocation)
        self._allotting.release(allocation)

    def unequip(self, allocation: Allocation) -> Allocation:
        """Take the cards of a share back: its run has ended. Returns what takes its place.

        ``changed`` is the caller's to call.
        """
        if not allocation.gpus:
            return allocation
        self._note_end(allocation)
        return self._allotting.unequip(allocation)

    # ------------------------------------------------------------------ the line

    def place(self, allocation: Allocation) -> Place | None:
        """Return the place of a share; ``None``: it needs no cards, or has them."""
        return self._places.get(id(allocation))

    def leave(self, place: Place) -> None:
        """Give up a place, where it is one still; the share stays."""
        if self._places.pop(id(place.allocation), None) is not None:
            self.changed()

    def be_ready(self, place: Place) -> None:
        """Nothing but the cards is missing; ``place.equipped`` may be set at once."""
        now = self._clock()
        place.is_ready, place.since = True, now if place.since is None else place.since
        self.changed()

    async def wait(self, place: Place) -> None:
        """Wait for the cards of one that is ready; ``place.allocation`` has them then.

        Where they do not come in time, ``recallable`` is cancelled, and ``place.back`` says why.
        """
        is_first = True
        while is_first or self._has_some(place):
            is_first = False
            with anyio.move_on_after(self._rules.staging_seconds):
                await place.equipped.wait()
                return
        self._give_up(place)
        await anyio.lowlevel.checkpoint()

    def serve(self) -> None:
        """Give out what is free."""
        while any(place.is_ready for place in self._places.values()):
            found = staging.grant(self._line(), self._outlook.table())
            if found is None:
                return
            place = next(one for one in self._places.values() if one.number == found.to.number)
            among = {card.uuid for card in found.among}
            equipped = self._allotting.equip(place.allocation, place.needs, among)
            if equipped is None:
                return
            del self._places[id(place.allocation)]
            place.allocation = equipped
            self._outlook.begin(equipped, place.seat, place.at_most)
            place.equipped.set()

    def recall(self, why: str) -> None:
        """Send back those for whom there are no cards, also while they are made ready."""
        line = self._line()
        if not line:
            return
        table = self._outlook.table()
        numbers = {one.number for one in staging.deal(line, table.free, table).unserved}
        for place in list(self._places.values()):
            if place.number in numbers:
                place.send_back(why)

    def leaves(self, needs: Needs, waiting: Needs) -> bool:
        """Tell whether ``needs`` take nothing of what another lacks, which waits for cards.

        That is so while it lacks cards alone, and for these there are others free, if they need
        any; and where it needs cards that are not given out in these minutes.
        """
        table = self._outlook.table()
        if choose_gpus(waiting, table.reach) is None:
            return True
        of_use = {card.uuid for card in suitable(waiting, table.reach)}
        left = staging.deal(self._line(), table.free, table).left
        others = tuple(card for card in left if card.uuid not in of_use)
        has_cards = choose_gpus(needs, others) is not None
        return has_cards and self._allotting.has_room_for(needs, waiting)

    @property
    def keeps_for_cards(self) -> bool:
        """Something is free now, and only for experiments with a card."""
        return self._allotting.keeps_for_cards

    # ------------------------------------------------------------------ how

    def _has_some(self, place: Place) -> bool:
        """Tell whether cards are kept for it: others would take them if it went back now."""
        is_owed = place.since is not None and self._clock() - place.since >= self._patience
        return is_owed and bool(suitable(place.needs, self._allotting.ledger.free.gpus))

    def _is_in_line(self, needs: Needs) -> bool:
        return bool(self._rules.staged and needs.gpu_count)

    def _admission(self, needs: Needs) -> Admission:
        staged = 0 if self._is_barred else self._rules.staged
        return staging.admit(needs, self._line(), self._outlook.table(), staged)

    def _line(self) -> list[Preparing]:
        now = self._clock()
        return [
            Preparing(
                place.number,
                place.needs,
                place.is_ready,
                is_owed=place.since is not None and now - place.since >= self._patience,
                is_long=self._outlook.is_long(place.seat),
            )
            for place in self._places.values()
            if place.back is None
        ]

    def _claimed_whole(self, needs: Needs, seat: Seat | None) -> Allocation | None:
        allocation = self._allotting.take(needs, seat)
        if allocation is not None:
            self._outlook.begin(allocation, seat)
        return allocation

    def _note_end(self, allocation: Allocation) -> None:
        if self._outlook.end(allocation):
            self._is_barred = False

    def _give_up(self, place: Place) -> None:
        """The cards did not come in time."""
        self._is_barred = True
        seconds = self._rules.staging_seconds
        why = f"the GPUs that it was made ready for were still busy after {seconds:.0f} s"
        _log.info("given back", why=why)
        place.send_back(why, _AGAIN)
        if place.seat is not None and place.since is not None:
            self.gave_up(place.seat, place.needs, place.since)
        self.changed()


def _bare(needs: Needs) -> Needs:
    """Return the needs without their cards."""
    return replace(needs, gpu_count=0, gpu_slots=0, gpu_memory=Bytes(0), gpu_group="")
