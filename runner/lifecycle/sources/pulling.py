"""Takes messages from one queue: room first, then a message, then a handler of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import anyio

from runner import log
from runner.errors import HostFault, QueueDenied, QueueUnavailable, RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.claiming.intake import LEAST, Slot
from runner.lifecycle.claiming.seats import Seat
from runner.lifecycle.handling import Handling
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs import processes
from runner.lifecycle.runs.record import Record
from runner.lifecycle.sources.echo import Echo
from runner.lifecycle.sources.pauses import LONGEST_TROUBLE_PAUSE, TROUBLE_PAUSE, Pauses
from runner.lifecycle.sources.trust import Trust
from runner.model import Allocation, Bytes, Deferred, Failed, Needs, News, Outcome, Report
from runner.queues.base import Delivery, Queue

__all__ = ["LONGEST_TROUBLE_PAUSE", "TROUBLE_PAUSE", "Hint", "Limit", "Puller", "fresh_record"]

_log = log.get_logger(__name__)

#: A broker that finds nothing at once is not asked again before.
_SHORTEST_LOOK = 1.0
_GIVE_BACK_SECONDS = 10.0
#: No broker hides what was given back for longer, and only nearly so long is sure.
_LONGEST_HIDING, _OF_HIDING = timedelta(minutes=10), 0.75
_NOTHING = Allocation(cores=0, memory=Bytes(0), disk=Bytes(0))
_HINT_SECONDS, _LONGEST_HINT_SECONDS = 30.0, 300.0


@dataclass
class Hint:
    """What a queue's last message needed and did not get; it ages, for the next may be smaller."""

    needs: Needs = LEAST
    until: float = 0.0
    seconds: float = _HINT_SECONDS
    clock: Callable[[], float] = time.monotonic

    def note(self, needs: Needs | None) -> None:
        """Remember what there was no room for, longer each time; forget when there was."""
        if needs is None:
            self.needs, self.until, self.seconds = LEAST, 0.0, _HINT_SECONDS
            return
        self.needs, self.until = needs, self.clock() + self.seconds
        self.seconds = min(2 * self.seconds, _LONGEST_HINT_SECONDS)

    @property
    def left(self) -> float:
        """Seconds for which the hint still holds."""
        return max(0.0, self.until - self.clock())


class Limit(Protocol):
    """Permits for attempts; ``anyio.Semaphore`` is one."""

    async def acquire(self) -> None:
        """Wait for a permit."""

    def release(self) -> None:
        """Give a permit back."""


@dataclass(eq=False)
class Puller:
    """Follows one queue until it is cancelled, or set aside as somebody else's."""

    parts: Parts
    queue: Queue
    trust: Trust
    limit: Limit
    #: Starts a handler that outlives the pulling; the limit's permit is the handler's then.
    start: Callable[[Callable[[], Awaitable[Outcome]]], None]
    hint: Hint = field(default_factory=Hint)
    pauses: Pauses = field(default_factory=Pauses)
    #: Of all queues of the account: a lost connection is the trouble of each of them.
    echo: Echo = field(default_factory=Echo)
    #: Waits after trouble; it may end early when the credential was changed.
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    #: After attempts that this machine could not begin: it must not go through a whole queue.
    rests: Pauses = field(default_factory=Pauses)
    _rests_until: float = 0.0
    _looked_at: float = 0.0
    _found_at: float = 0.0

    async def pull(self) -> None:
        """Take one message after the other; trouble with the broker only makes us wait."""
        seat = self.parts.intake.seat(self.queue)
        try:
            while await self.trust.allows_another():
                try:
                    await self._take_one(seat)
                except QueueUnavailable as error:
                    await self._pause(error)
        finally:
            self.parts.intake.leave(seat)
        await self._say(
            News.QUEUE_SET_ASIDE,
            f"queue {self.queue.name} is set aside: its messages are no StudioML requests "
            f"({self.trust.strangers} in a row); name it in --queue-match, as in "
            f"'^(local|{self.queue.name}$)', to take it nevertheless",
        )

    async def _pause(self, error: QueueUnavailable) -> None:
        pause, is_news = self.pauses.after(error), self.pauses.is_news(error)
        if isinstance(error, QueueDenied):
            if is_news:
                await self._say(News.WARNING, f"queue {self.queue.name} is refused: {error}")
        else:
            self._mention(str(error), pause)
        await self.sleep(pause)

    def _mention(self, trouble: str, pause: float) -> None:
        is_echo = self.echo.repeats(trouble.replace(self.queue.name, ""))
        say = _log.debug if is_echo else _log.warning
        say("no message", queue=self.queue.name, trouble=trouble, paused=pause)

    async def _take_one(self, seat: Seat) -> None:
        await self.queue.ready()
        await self.sleep(max(0.0, self._rests_until - anyio.current_time()))
        if self.trust.is_over:  # what is ready now may be the stranger of before
            return
        await self.limit.acquire()
        taken = False
        try:
            taken = await self._take_with_room(seat)
        finally:
            if not taken:
                self.limit.release()
        if not taken:
            # A backend that finds nothing at once must not become a busy loop.
            await anyio.sleep(max(0.0, self._looked_at + _SHORTEST_LOOK - anyio.current_time()))

    async def _take_with_room(self, seat: Seat) -> bool:
        intake = self.parts.intake
        turn = await intake.turn(seat, *await self._expected(seat))
        self._looked_at = anyio.current_time()
        try:
            delivery = await self.queue.take()
        except BaseException:
            intake.failed(turn)
            raise
        self.pauses.over()
        self.parts.tally.checked[self.queue.broker, self.parts.tally.queue(self.queue.name)] += 1
        if delivery is None:
            intake.nothing(turn)
            return False
        # No await from here to the handler: nobody else knows of the message and of its room.
        slot, self._found_at = intake.found(turn), self.hint.clock()
        if intake.wants_nothing:
            await self._give_back(delivery, slot)
            return False
        self._hand_over(delivery, slot)
        return True

    async def _expected(self, seat: Seat) -> tuple[Needs, float]:
        """Return what the next message probably needs, and until when that is believed.

        Behind one that needed a card the next is expected to need one: there are few, and what is
        received for nothing has to go back. So it has to be known first what was received before.
        """
        if seat.wants is None or seat.wants.gpu_count:
            await self.trust.until_judged()
        if self.hint.left or seat.wants is None or not seat.wants.gpu_count:
            return self.hint.needs, self.hint.until
        return seat.wants, self._found_at + _HINT_SECONDS

    def _hand_over(self, delivery: Delivery, slot: Slot) -> None:
        handling = Handling(
            self.parts,
            delivery,
            Entry(fresh_record(self.queue, delivery)),
            judged=self._judge,
            lacks=self.hint.note,
        )
        self.trust.wait_for_one()
        self.start(lambda: self._handle(handling, slot))

    def _judge(self, is_foreign: bool | None) -> None:  # noqa: FBT001 - all that is told
        self.trust.judge(is_foreign=is_foreign)
        if is_foreign:
            hidden = min(self.parts.options.retry.longest_delay, _LONGEST_HIDING)
            self.trust.doubt(_OF_HIDING * hidden.total_seconds() - self.queue.patience)

    async def _give_back(self, delivery: Delivery, slot: Slot) -> None:
        """Nothing is claimed any more, and an open receive has brought a message."""
        slot.give_back()
        with anyio.move_on_after(_GIVE_BACK_SECONDS, shield=True), suppress(RunnerError):
            await self.parts.keeper.run(delivery.release, delay=timedelta(0))

    async def _handle(self, handling: Handling, slot: Slot) -> Outcome:
        outcome = await handling.perform(slot)
        if handling.too_big_for_now is None:
            self.hint.note(None)
        self._rest_after(outcome)
        return outcome

    def _rest_after(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed) and outcome.unbegun:
            pause = self.rests.after(HostFault(outcome.detail))
            self._rests_until = anyio.current_time() + pause
        elif not isinstance(outcome, Deferred):
            self.rests.over()

    async def _say(self, news: News, text: str) -> None:
        name = self.queue.name
        about = f"queue {self.queue.broker} {self.queue.project} {name}"
        await self.parts.report(Report(news, text, queue=name, topic=about))


def fresh_record(queue: Queue, delivery: Delivery) -> Record:
    """Return the record of an attempt of which only the message is known."""
    return Record(
        run=secrets.token_hex(8),
        message=delivery.message,
        broker=queue.broker,
        project=queue.project,
        token=delivery.token,
        key="",
        experiment_project="",
        attempt=delivery.message.receive_count,
        allocation=_NOTHING,
        claimed_at=time.time(),
        system=processes.system(),
    )
