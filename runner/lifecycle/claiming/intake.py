"""Room before work: nobody receives a message without a slot, and turns are given fairly."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import anyio

from runner.lifecycle.claiming.allotting import Allotting, Ledger
from runner.lifecycle.claiming.line import Line
from runner.lifecycle.claiming.obstacles import Obstacles
from runner.lifecycle.claiming.reservation import Reservation
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.seats import LEAST, NEVER, Poll, Seat
from runner.lifecycle.claiming.slot import Slot
from runner.lifecycle.claiming.suspension import Suspension
from runner.lifecycle.claiming.turns import Turns
from runner.lifecycle.claiming.want import Want, described
from runner.model import Allocation, Needs
from runner.queues.base import Queue

__all__ = ["LEAST", "Intake", "Slot", "Turn"]

_LOOK_SECONDS = 10.0


@dataclass(eq=False)
class Turn:
    """A queue's permission to receive; ``Intake.found``, ``nothing`` or ``failed`` ends it."""

    seat: Seat
    #: What its next message is believed to need, and until when.
    needs: Needs
    until: float
    granted: anyio.Event = field(default_factory=anyio.Event)
    poll: Poll | None = None
    #: The slot that it has to itself while it is new.
    allocation: Allocation | None = None


class Intake:
    """Hands out the machine as ``turns`` decides, with one reservation for what is too big now."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        disk_is_low: Callable[[], str] = lambda: "",
        rules: Rules = Rules(),  # noqa: B008 - frozen
        suspension: Suspension | None = None,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` counts seconds, ``wall`` those since the epoch."""
        self._rules = rules
        #: Who wants nothing to be claimed.
        self.suspension = suspension or Suspension()
        self.suspension.listeners.append(self.look)
        self._obstacles = Obstacles(rules, disk_is_low, wall, self.suspension)
        self._clock = clock
        self._turns = Turns()
        self._allotting = Allotting(ledger, self._turns, rules.at_most, clock)
        self._seats: dict[tuple[str, str, str], Seat] = {}
        self._followed: set[Seat] = set()
        self._asking: dict[Seat, Turn] = {}
        self._open: dict[Poll, Turn] = {}
        #: Who has been claimed and waits for cards.
        self.line = Line(self._allotting, rules, patience, clock)
        self._reservation = Reservation(self.line, patience, clock)
        self.line.changed, self.line.gave_up = self.look, self._reservation.owe
        #: Since when each queue waits for room.
        self.want: Want[Seat] = Want(clock)
        #: The daemon ends: what has no room yet gets none.
        self.closed = anyio.Event()
        #: How often a queue was not asked because nothing is to be claimed; by owner and name.
        self.ignored: Counter[tuple[str, str]] = Counter()
        self._wake_at = float("inf")
        self._earlier = anyio.Event()

    @property
    def ledger(self) -> Ledger:
        """The counts; for showing."""
        return self._allotting.ledger

    @property
    def is_closed(self) -> bool:
        """The daemon ends: what has no room yet gets none."""
        return self.closed.is_set()

    @property
    def wants_nothing(self) -> bool:
        """What an open receive still brings is given back at once."""
        return self.closed.is_set() or bool(self.suspension.said)

    @property
    def complaint(self) -> str:
        """Why nothing is claimed now, for people; empty where nothing forbids it."""
        return self._obstacles.said

    @property
    def disk_complaint(self) -> str:
        """What of that is about the disk."""
        return self._obstacles.disk

    @property
    def is_off_hours(self) -> bool:
        """These are hours in which nothing is to be claimed."""
        return self._obstacles.is_off_hours

    def holdup(self, broker: str, project: str, queue: str) -> str:
        """Say why nothing is taken from a queue now, for people; empty: nothing keeps it."""
        if self.closed.is_set():
            return "the daemon is draining"
        turn = self._asking.get(self._seat(broker, project, queue))
        if self.complaint or turn is None:
            return self.complaint
        room = self.line.room(self._allowing())
        if room.slots < 1:
            return "the machine is full"
        if self._clock() < turn.until and not room.fits(turn.needs):
            return f"its last message needs {described(turn.needs)}, which are not free"
        if not self._reservation.lets_pass(turn.seat):
            return "what is free is kept for an experiment that has waited for long"
        return "" if room.allows(turn.seat) else "the active hours end soon"

    # ------------------------------------------------------------------ turns

    def seat(self, queue: Queue) -> Seat:
        """Return the queue's place, with what it has had before; ``leave`` gives it up."""
        seat = self._seat(queue.broker, queue.project, queue.name)
        if seat in self._followed:  # one that ends has not left yet
            seat = replace(seat, was_full=False)
        self._followed.add(seat)
        seat.tells, seat.glance, seat.patience = queue.tells, queue.glance, queue.patience
        return seat

    def leave(self, seat: Seat) -> None:
        """Say that the queue is not followed any more."""
        self._followed.discard(seat)
        self.want.end(seat)
        self._reservation.left(seat)
        self._turns.leave(seat)

    async def turn(self, seat: Seat, needs: Needs = LEAST, until: float = NEVER) -> Turn:
        """Wait until the queue may receive.

        ``needs`` are believed to be those of its next message, ``until`` this time of our clock.
        """
        turn = self._asking[seat] = Turn(seat, needs, until)
        self.want.begin(seat)
        self._turns.ask(seat, self._clock(), needs, until)
        self.look()
        try:
            await turn.granted.wait()
        except BaseException:
            if turn.poll is None:
                del self._asking[seat]
                self._turns.withdraw(seat, self._clock())
                self.look()
            else:
                self.failed(turn)
            raise
        return turn

    def found(self, turn: Turn) -> Slot:
        """End a turn with a message; an open receive may bring one when the slot is gone."""
        allocation = turn.allocation
        if allocation is None and self.may_take(turn.seat):
            allocation = self._allotting.take(LEAST)
        self._turns.found(self._closed(turn), self._clock())
        return Slot(self, allocation, turn.seat)

    def nothing(self, turn: Turn) -> None:
        """End a turn that found the queue empty."""
        self._give_back(turn)
        self._reservation.is_empty(turn.seat)
        self.want.end(turn.seat)
        self._turns.nothing(self._closed(turn), self._clock())
        self.look()

    def failed(self, turn: Turn) -> None:
        """End a turn of which nobody knows what it would have brought."""
        self._give_back(turn)
        self._turns.failed(self._closed(turn), self._clock())
        self.look()

    async def slot(self, needs: Needs = LEAST) -> Slot:
        """Wait for room for ``needs`` and hold it, for nobody's queue in particular."""
        seat = Seat("", tells=True, glance=float("inf"))
        try:
            return self.found(await self.turn(seat, needs, float("inf")))
        finally:
            self.leave(seat)

    def look(self) -> None:
        """Grant what can be granted now."""
        now = self._clock()
        for poll in self._turns.glanced(now):
            self._give_back(self._open[poll])
        self.line.serve()
        is_forbidden = self._is_forbidden()
        if self.closed.is_set() or self._obstacles.last_long:
            self.line.recall("nothing is claimed any more, and the GPUs that it needs are busy")
        elif not is_forbidden:
            self._reservation.serve()
            for seat in self._turns.choose(now, self.line.room(self._allowing())):
                self._begin(self._asking[seat], now)
        if self._turns.wake_at(now) < self._wake_at:
            self._earlier.set()

    async def keep_looking(self) -> None:
        """Look again when a glance is over, and now and then: the disk or the hour has changed."""
        while True:
            now = self._clock()
            self._wake_at = min(self._turns.wake_at(now), now + _LOOK_SECONDS)
            self._earlier = anyio.Event()
            with anyio.move_on_after(self._wake_at - now):
                await self._earlier.wait()
                continue
            self.look()
            if self.complaint or self.closed.is_set():
                self.ignored.update((seat.project, seat.name) for seat in self._asking)

    def close(self) -> None:
        """Let nobody receive, or wait for room with a message in hand, any more."""
        self.closed.set()
        self._reservation.end()
        self.look()

    # ------------------------------------------------------------------ room

    def take(self, needs: Needs, seat: Seat) -> Allocation | None:
        """Take a share for an experiment of the queue now, or nothing."""
        if not self._reservation.lets_take(seat, needs):
            return None
        allocation = self.line.claim(needs, seat, self._reservation.owed_since(seat, needs))
        if allocation is not None:
            self.want.end(seat)
            self._reservation.served(seat, needs)
        return allocation

    def may_take(self, seat: Seat) -> bool:
        """Tell whether the queue may take what is promised to nobody."""
        return not self._is_forbidden() and self._reservation.lets_pass(seat)

    def adopt(self, allocation: Allocation, *, broker: str, project: str, queue: str) -> None:
        """Take exactly this share: an adopted run of the queue has it already."""
        self.line.adopt(allocation, self._seat(broker, project, queue))

    def release(self, allocation: Allocation, *, quietly: bool = False) -> None:
        """Give a share back and wake who waits for it; ``quietly``: the caller looks next."""
        self.line.release(allocation)
        if not quietly:
            self.look()

    async def reserved(self, needs: Needs, seat: Seat | None = None) -> Allocation | None:
        """Wait with the machine's one reservation; ``None`` when it is taken, or we are closed."""
        if self.closed.is_set():
            return None
        allocation = await self._reservation.wait(needs, seat, self.look)
        if allocation is not None and seat is not None:
            self.want.end(seat)
        return allocation

    # ------------------------------------------------------------------ how

    def _seat(self, broker: str, project: str, queue: str) -> Seat:
        address = (broker, project, queue)
        if address not in self._seats:
            owner = f"{broker}:{project}"
            self._seats[address] = Seat(queue, owner, self._rules.priority(queue))
        return self._seats[address]

    def _begin(self, turn: Turn, now: float) -> None:
        if turn.seat.is_sure:
            turn.allocation = self.line.slot(turn.needs if now < turn.until else LEAST)
            if turn.allocation is None:
                return  # what it is believed to need went to one before it
        del self._asking[turn.seat]
        turn.poll = self._turns.open(turn.seat, now)
        self._open[turn.poll] = turn
        turn.granted.set()

    def _closed(self, turn: Turn) -> Poll:
        assert turn.poll is not None  # noqa: S101 - it was granted
        del self._open[turn.poll]
        return turn.poll

    def _give_back(self, turn: Turn) -> None:
        if turn.allocation is not None:
            self._allotting.release(turn.allocation)
            turn.allocation = None

    def _allowing(self) -> Callable[[Seat], bool]:
        """No receive is opened that would outlast the active hours, or pass what waits."""
        known: dict[Needs, bool] = {}

        def allows(seat: Seat) -> bool:
            if not self._reservation.lets_pass(seat, known):
                return False
            return not self._obstacles.ends_within(seat.patience)

        return allows

    def _is_forbidden(self) -> bool:
        complaint = self._obstacles.look()
        if complaint:
            self.want.begin_anew()
        if self._obstacles.last_long:
            self._reservation.end()
        return bool(complaint)
