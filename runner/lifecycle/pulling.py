"""Takes messages from one queue: room first, then a message, then a handler of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from runner import log
from runner.errors import QueueUnavailable
from runner.lifecycle.board import Entry
from runner.lifecycle.handling import Handling
from runner.lifecycle.intake import LEAST, Slot
from runner.lifecycle.parts import Parts
from runner.lifecycle.record import Record
from runner.lifecycle.trust import FOREIGN_LIMIT, Trust
from runner.model import Allocation, Bytes, Needs, News, Outcome, Report
from runner.queues.base import Delivery, Queue

_log = log.get_logger(__name__)

TROUBLE_PAUSE, LONGEST_TROUBLE_PAUSE = 1.0, 60.0
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

    async def pull(self) -> None:
        """Take one message after the other; trouble with the broker only makes us wait."""
        pause = TROUBLE_PAUSE
        while await self.trust.allows_another():
            try:
                await self._take_one()
                pause = TROUBLE_PAUSE
            except QueueUnavailable as error:
                _log.warning("no message", queue=self.queue.name, trouble=str(error), paused=pause)
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_TROUBLE_PAUSE)
        await self._say(
            f"queue {self.queue.name} is set aside: {FOREIGN_LIMIT} messages in a row are no "
            f"StudioML requests; name it in --queue-match, as in '^(local|{self.queue.name}$)', "
            f"to take it nevertheless"
        )

    async def _take_one(self) -> None:
        await self.queue.ready()
        await self.limit.acquire()
        taken = False
        try:
            taken = await self._take_with_room()
        finally:
            if not taken:
                self.limit.release()

    async def _take_with_room(self) -> bool:
        slot = await self._slot()
        delivery: Delivery | None = None
        try:
            # Another runner may have been faster: then the room is better used by other queues.
            with anyio.move_on_after(self.queue.patience):
                delivery = await self.queue.receive()
        finally:
            if delivery is None:
                slot.give_back()
        if delivery is None:
            return False
        # No await from here to the handler: nobody else knows of the message and of its room.
        handling = Handling(
            self.parts,
            delivery,
            Entry(fresh_record(self.queue, delivery)),
            judged=lambda is_foreign: self.trust.judge(is_foreign=is_foreign),
        )
        self.trust.wait_for_one()
        self.start(lambda: self._handle(handling, slot))
        return True

    async def _slot(self) -> Slot:
        if self.hint.left > 0:
            with anyio.move_on_after(self.hint.left):
                return await self.parts.intake.slot(self.hint.needs)
        return await self.parts.intake.slot(LEAST)

    async def _handle(self, handling: Handling, slot: Slot) -> Outcome:
        outcome = await handling.perform(slot)
        self.hint.note(handling.too_big_for_now)
        return outcome

    async def _say(self, text: str) -> None:
        await self.parts.report(Report(News.QUEUES_CHANGED, text))


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
    )
