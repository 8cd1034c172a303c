"""The daemon's loop: follows all queues, receives where there is room, and ends in order."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from runner import log
from runner.errors import QueueUnavailable
from runner.lifecycle.board import Entry
from runner.lifecycle.handling import Handling
from runner.lifecycle.intake import LEAST
from runner.lifecycle.parts import Parts
from runner.lifecycle.record import Record
from runner.model import Allocation, Bytes, Cause, Needs, News, Report
from runner.queues.base import Broker, Delivery, Queue

_log = log.get_logger(__name__)

_NOTHING = Allocation(cores=0, memory=Bytes(0), disk=Bytes(0))
#: Messages that are no StudioML request, after which a queue is left alone.
_FOREIGN_LIMIT = 3
_TROUBLE_PAUSE, _LONGEST_TROUBLE_PAUSE = 1.0, 60.0
_HINT_SECONDS, _LONGEST_HINT_SECONDS = 30.0, 300.0


@dataclass
class Hint:
    """What a queue's last message needed and did not get; it ages, for the next may be smaller."""

    needs: Needs = LEAST
    until: float = 0.0
    seconds: float = _HINT_SECONDS

    def note(self, needs: Needs | None) -> None:
        """Remember what there was no room for, longer each time; forget when there was."""
        if needs is None:
            self.needs, self.seconds = LEAST, _HINT_SECONDS
            return
        self.needs, self.until = needs, time.monotonic() + self.seconds
        self.seconds = min(2 * self.seconds, _LONGEST_HINT_SECONDS)

    @property
    def left(self) -> float:
        """Seconds for which the hint still holds."""
        return max(0.0, self.until - time.monotonic())


@dataclass(frozen=True, slots=True)
class Ends:
    """When the daemon ends by itself; zero means never."""

    tasks: int = 0
    idle: timedelta = timedelta(0)
    #: How long a drain waits for runs to finish.
    grace: timedelta = timedelta(minutes=10)


@dataclass(eq=False)
class Loop:
    """Everything between start and end of the daemon; ``run`` returns when it has drained."""

    parts: Parts
    brokers: Sequence[Broker]
    ends: Ends = Ends()
    queues: dict[tuple[str, str], Queue] = field(default_factory=dict)
    _pullers: dict[tuple[str, str], anyio.CancelScope] = field(default_factory=dict)
    _set_aside: set[tuple[str, str]] = field(default_factory=set)
    _drain: anyio.Event = field(default_factory=anyio.Event)
    _stop: anyio.Event = field(default_factory=anyio.Event)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _handled: int = 0
    _busy: int = 0

    @property
    def is_draining(self) -> bool:
        """No message is received any more."""
        return self._drain.is_set()

    def drain(self) -> None:
        """Receive nothing more; end when what runs has finished. The second call stops it."""
        if self._drain.is_set():
            self._stop.set()
        self._drain.set()

    async def run(self, adopted: Sequence[Handling] = ()) -> None:
        """Serve until drained. Cancelling leaves every run alone, for the next daemon."""
        async with anyio.create_task_group() as group:
            for handling in adopted:
                self._begin()
                group.start_soon(self._resume, handling)
            group.start_soon(self.parts.intake.keep_looking)
            group.start_soon(self._end_by_itself)
            await self._receive_until_drained(group)
            await self._finish_within_grace()
            group.cancel_scope.cancel()

    # ------------------------------------------------------------------ queues

    async def _receive_until_drained(self, handlers: TaskGroup) -> None:
        async with anyio.create_task_group() as group:
            for broker in self.brokers:
                group.start_soon(self._follow, broker, group, handlers)
            await self._drain.wait()
            group.cancel_scope.cancel()

    async def _follow(self, broker: Broker, group: TaskGroup, handlers: TaskGroup) -> None:
        pause = _TROUBLE_PAUSE
        while True:
            try:
                async for names in broker.discover():
                    pause = _TROUBLE_PAUSE
                    await self._adjust(broker, names, group, handlers)
            except QueueUnavailable as error:
                _log.warning("no queues", broker=broker.name, trouble=str(error), pause=pause)
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_TROUBLE_PAUSE)

    async def _adjust(
        self, broker: Broker, names: frozenset[str], group: TaskGroup, handlers: TaskGroup
    ) -> None:
        known = {name for project, name in self._pullers if project == broker.project}
        for name in sorted(known - names):
            self._pullers.pop((broker.project, name)).cancel()
            self.queues.pop((broker.project, name), None)
        for name in sorted(names - known):
            queue = await broker.open(name)
            scope = self._pullers[broker.project, name] = anyio.CancelScope()
            self.queues[broker.project, name] = queue
            group.start_soon(self._pull, queue, scope, handlers)
        if names != known:
            await self._say(f"{broker.name} queues: {', '.join(sorted(names)) or 'none'}")

    # ------------------------------------------------------------------ messages

    async def _pull(self, queue: Queue, scope: anyio.CancelScope, handlers: TaskGroup) -> None:
        hint, foreign, pause = Hint(), [0], _TROUBLE_PAUSE
        with scope:
            while foreign[0] < _FOREIGN_LIMIT:
                try:
                    await self._take_one(queue, hint, foreign, handlers)
                    pause = _TROUBLE_PAUSE
                except QueueUnavailable as error:
                    _log.warning("no message", queue=queue.name, trouble=str(error), pause=pause)
                    await anyio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_TROUBLE_PAUSE)
            await self._say(
                f"queue {queue.name} is set aside: {_FOREIGN_LIMIT} messages in a row are no "
                f"StudioML requests; name it in --queue-match to take it nevertheless"
            )

    async def _take_one(
        self, queue: Queue, hint: Hint, foreign: list[int], handlers: TaskGroup
    ) -> None:
        await queue.ready()
        slot = None
        with anyio.move_on_after(hint.left):
            slot = await self.parts.intake.slot(hint.needs)
        if slot is None:
            slot = await self.parts.intake.slot(LEAST)
        delivery: Delivery | None = None
        try:
            # Another runner may have been faster: then the room is better used by other queues.
            with anyio.move_on_after(queue.patience):
                delivery = await queue.receive()
        finally:
            if delivery is None:
                slot.give_back()
        if delivery is None:
            return

        async def handle() -> None:
            handling = Handling(self.parts, delivery, Entry(fresh_record(queue, delivery)))
            await handling.perform(slot)
            hint.note(handling.too_big_for_now)
            foreign[0] = foreign[0] + 1 if handling.is_foreign else 0
            self._ended()

        self._begin()
        handlers.start_soon(handle)

    async def _resume(self, handling: Handling) -> None:
        await handling.resume()
        self._ended()

    # ------------------------------------------------------------------ ends

    def _begin(self) -> None:
        self._busy += 1
        self._tell()

    def _ended(self) -> None:
        self._busy -= 1
        self._handled += 1
        if 0 < self.ends.tasks <= self._handled:
            self._drain.set()
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _end_by_itself(self) -> None:
        idle = self.ends.idle.total_seconds()
        if idle <= 0:
            return
        while not self._drain.is_set():
            changed = self._changed
            with anyio.move_on_after(idle) as waited:
                await changed.wait()
            if waited.cancelled_caught and not self._busy:
                await self._say(f"nothing to run for {idle:.0f} s: the daemon ends")
                self._drain.set()

    async def _finish_within_grace(self) -> None:
        if self._busy:
            await self._say(f"draining: {self._busy} under way")
        with anyio.move_on_after(self.ends.grace.total_seconds()):
            async with anyio.create_task_group() as group:
                group.start_soon(self._cancel_when_stopped, group.cancel_scope)
                await self._until_idle()
                group.cancel_scope.cancel()
        for entry in self.parts.board:
            entry.stopper.stop(Cause.DRAINED, "the daemon stops")
        await self._until_idle()

    async def _cancel_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    async def _until_idle(self) -> None:
        while self._busy:
            await self._changed.wait()

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
