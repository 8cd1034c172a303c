"""Which queues may receive next: the claiming policy, without clock, lock or wait.

Everything is counted from the ``now`` that it is given. ``docs/scheduling.md`` explains it, and
``tests/lifecycle/test_turns_simulated.py`` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runner.lifecycle.claiming.seats import LEAST, NEVER, Ask, Poll, Room, Seat
from runner.lifecycle.claiming.shares import Account, level
from runner.model import Needs

#: Rounds: in each, a queue that may be empty is looked at once before those with work go on. Where
#: less important work waits, more important queues are looked at more often.
ROUND, ROUND_OF_PRIORITY = 60.0, 10.0
#: At most so many queues that may be empty are looked at together for one slot.
WIDEST = 256.0
#: The width halves in this time without a look: while the machine was full, work came.
_NARROWS_IN = 60.0
_A_TRIFLE = 1e-6


@dataclass(eq=False, slots=True)
class _Project:
    account: Account = field(default_factory=Account)
    seats: set[Seat] = field(default_factory=set)


class Turns:
    """The table: who asks, who looks, and what everybody has had."""

    def __init__(self) -> None:
        self._projects: dict[str, _Project] = {}
        self._asks: dict[Seat, Ask] = {}
        #: Open receives that are new; the others count for nothing here.
        self._glances: dict[Seat, Poll] = {}
        self._count = 0
        self._width, self._width_at = 1.0, 0.0

    # ------------------------------------------------------------------ what happens

    def ask(self, seat: Seat, now: float, needs: Needs = LEAST, until: float = NEVER) -> None:
        """Have the queue wait for its turn."""
        self._count += 1
        self._asks[seat] = Ask(seat, self._count, needs, until)
        self._project(seat).seats.add(seat)
        if seat.is_sure:
            self._demand(seat, now)
            self._wait(seat, +1, now)

    def withdraw(self, seat: Seat, now: float) -> None:
        """The queue waits no longer."""
        if self._asks.pop(seat, None) is not None and seat.is_sure:
            self._wait(seat, -1, now)

    def leave(self, seat: Seat) -> None:
        """The queue is gone; what it had counts for its project still."""
        self._project(seat).seats.discard(seat)

    def open(self, seat: Seat, now: float) -> Poll:
        """Begin what ``choose`` chose."""
        del self._asks[seat]
        weight = 0.0 if seat.is_sure else self._weight(seat, now)
        is_glance = seat.is_sure or weight > 0
        poll = Poll(seat, seat.is_sure, now + seat.glance, weight, is_glance)
        if is_glance:
            self._glances[seat] = poll
        return poll

    def glanced(self, now: float) -> list[Poll]:
        """Return the polls that have become mere watches, and need no slot of their own."""
        over = [poll for poll in self._glances.values() if poll.until <= now]
        for poll in over:
            self._saw_nothing(poll, now)
        return over

    def found(self, poll: Poll, now: float) -> None:
        """A message came."""
        seat = poll.seat
        if poll.is_glance and not poll.is_sure:
            self._width, self._width_at = 1.0, now
        self._close(poll, now)
        self._demand(seat, now)
        self._count += 1
        seat.was_full, seat.served = True, self._count

    def nothing(self, poll: Poll, now: float) -> None:
        """The poll has ended, and the queue is empty."""
        if poll.is_glance:
            self._saw_nothing(poll, now)
        poll.seat.empty_at = now

    def failed(self, poll: Poll, now: float) -> None:
        """The poll has ended, and nobody knows more than before."""
        self._close(poll, now)

    def begin(self, seat: Seat, run: int, share: float, now: float) -> None:
        """Charge the queue and its project from now on; ``run`` names the share."""
        for account in (self._project(seat).account, seat.account):
            account.begin(run, share, now)

    def end(self, seat: Seat, run: int, now: float) -> None:
        """Charge them no longer."""
        for account in (self._project(seat).account, seat.account):
            account.end(run, now)

    # ------------------------------------------------------------------ what to do

    def choose(self, now: float, room: Room) -> list[Seat]:
        """Return the queues that may receive now, the first first. Changes nothing."""
        if room.slots < 1 or not self._asks:
            return []
        left = room.slots - sum(poll.weight for poll in self._glances.values())
        able = [
            ask
            for ask in self._asks.values()
            if (now >= ask.until or room.fits(ask.needs)) and room.allows(ask.seat)
        ]
        first, rest = _parted(able, now)
        chosen: list[Seat] = []
        for seat in self._ranked(first, now):
            weight = 1.0 if seat.is_sure else self._weight(seat, now)
            if left < weight - _A_TRIFLE:
                return chosen
            left -= weight
            chosen.append(seat)
        if left < 1 - _A_TRIFLE:  # nobody receives who could not be served
            return chosen
        for seat in self._ranked(rest, now):
            weight = self._weight(seat, now)
            if left >= weight:
                left -= weight
                chosen.append(seat)
        return chosen

    def wake_at(self, now: float) -> float:
        """Return when ``choose`` may give another answer although nothing happens."""
        ends = [poll.until for poll in self._glances.values()]
        ends.extend(ask.until for ask in self._asks.values() if ask.until > now)
        return min(ends, default=float("inf"))

    def _ranked(self, asks: list[Ask], now: float) -> Iterator[Seat]:
        if len(asks) == 1:
            return iter([asks[0].seat])
        top = self._top_level(now)
        levels: dict[str, tuple[float, float]] = {}
        for name in {ask.seat.project for ask in asks}:
            project = self._projects[name]
            levels[name] = (max(top, project.account.used(now)), _level_in(project, now))

        def rank(ask: Ask) -> tuple[float, ...]:
            seat = ask.seat
            used, least = levels[seat.project]
            own = max(seat.account.used(now), least)
            return (-seat.priority, used, own, seat.served, ask.number)

        return (ask.seat for ask in sorted(asks, key=rank))

    # ------------------------------------------------------------------ bookkeeping

    def _project(self, seat: Seat) -> _Project:
        return self._projects.setdefault(seat.project, _Project())

    def _demand(self, seat: Seat, now: float) -> None:
        """It has work; who was silent for long starts where the others are."""
        project = self._project(seat)
        if not project.account.is_in_demand(now):
            project.account.raise_to(self._top_level(now), now)
        if not seat.account.is_in_demand(now):
            seat.account.raise_to(_level_in(project, now), now)
        seat.account.asked_at = project.account.asked_at = now

    def _top_level(self, now: float) -> float:
        return level([project.account for project in self._projects.values()], now)

    def _wait(self, seat: Seat, change: int, now: float) -> None:
        for account in (seat.account, self._project(seat).account):
            account.waiting += change
            account.asked_at = now

    def _close(self, poll: Poll, now: float) -> None:
        if poll.is_glance:
            del self._glances[poll.seat]
            poll.is_glance = False
            if poll.is_sure:
                self._wait(poll.seat, -1, now)

    def _saw_nothing(self, poll: Poll, now: float) -> None:
        """The glance is over: the queue was empty."""
        self._close(poll, now)
        if not poll.is_sure:
            self._width, self._width_at = min(self._width_now(now) + 1, WIDEST), now
        poll.seat.was_full, poll.seat.empty_at = False, now

    def _weight(self, seat: Seat, now: float) -> float:
        """Return what a look takes of a slot; going on with a watch takes nothing."""
        return 0.0 if now - seat.empty_at <= seat.glance else 1 / self._width_now(now)

    def _width_now(self, now: float) -> float:
        left: float = 0.5 ** ((now - self._width_at) / _NARROWS_IN)
        return max(1.0, self._width * left)


def _level_in(project: _Project, now: float) -> float:
    return level([seat.account for seat in project.seats], now)


def _parted(asks: Iterable[Ask], now: float) -> tuple[list[Ask], list[Ask]]:
    """Part those that may have a message from those that were seen empty in this round."""
    asks = list(asks)
    lowest = min((ask.seat.priority for ask in asks if ask.seat.is_sure), default=None)
    first: list[Ask] = []
    rest: list[Ask] = []
    for ask in asks:
        seat = ask.seat
        is_urgent = lowest is not None and seat.priority > lowest
        begun = now - now % (ROUND_OF_PRIORITY if is_urgent else ROUND)
        is_empty = not seat.is_sure and seat.empty_at >= begun
        (rest if is_empty else first).append(ask)
    return first, rest
