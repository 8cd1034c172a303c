"""The daemon's loop: follows all queues, receives where there is room, and ends in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from runner import log
from runner.errors import QueueUnavailable
from runner.lifecycle.handling import Handling
from runner.lifecycle.parts import Parts
from runner.lifecycle.pulling import LONGEST_TROUBLE_PAUSE, TROUBLE_PAUSE, Limit, Puller
from runner.lifecycle.trust import Trust
from runner.model import Cause, Deferred, News, Outcome, Refused, Report
from runner.queues.base import Broker, Queue

_log = log.get_logger(__name__)

_Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Ends:
    """When the daemon ends by itself; zero means never."""

    #: Attempts that are begun, at most, and after whose end it drains.
    tasks: int = 0
    idle: timedelta = timedelta(0)
    #: How long a drain waits for runs to finish.
    grace: timedelta = timedelta(minutes=10)


class _NoLimit:
    async def acquire(self) -> None:
        """Permit it."""

    def release(self) -> None:
        """Nothing is counted."""


@dataclass(eq=False)
class Loop:
    """Everything between start and end of the daemon; ``run`` returns when it has drained."""

    parts: Parts
    brokers: Sequence[Broker]
    ends: Ends = Ends()
    #: The operator named this very queue: it is never set aside.
    is_named: Callable[[str], bool] = lambda _: False
    #: By broker, project and name.
    queues: dict[_Name, Queue] = field(default_factory=dict)
    _pullers: dict[_Name, anyio.CancelScope] = field(default_factory=dict)
    _drain: anyio.Event = field(default_factory=anyio.Event)
    _stop: anyio.Event = field(default_factory=anyio.Event)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _limit: Limit = field(default_factory=_NoLimit)
    _attempts: int = 0
    _busy: int = 0

    @property
    def is_draining(self) -> bool:
        """No message is received any more."""
        return self._drain.is_set()

    @property
    def is_stopping(self) -> bool:
        """What runs is being ended and given back."""
        return self._stop.is_set()

    def drain(self) -> None:
        """Receive nothing more; end when what runs has finished. The second call stops it."""
        if self._drain.is_set():
            self._stop.set()
        self._drain.set()
        self.parts.intake.close()

    async def run(self, adopted: Sequence[Handling] = ()) -> None:
        """Serve until drained. Cancelling leaves every run alone, for the next daemon."""
        if self.ends.tasks > 0:
            self._limit = anyio.Semaphore(max(0, self.ends.tasks - len(adopted)))
        async with anyio.create_task_group() as group:
            for handling in adopted:
                self._start(group, handling.resume)
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
        pause = TROUBLE_PAUSE
        while True:
            try:
                async for names in broker.discover():
                    pause = TROUBLE_PAUSE
                    await self._adjust(broker, names, group, handlers)
            except QueueUnavailable as error:
                _log.warning("no queues", broker=broker.name, trouble=str(error), paused=pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_TROUBLE_PAUSE)

    async def _adjust(
        self, broker: Broker, names: frozenset[str], group: TaskGroup, handlers: TaskGroup
    ) -> None:
        account = (broker.name, broker.project)
        known = {name for kind, project, name in self._pullers if (kind, project) == account}
        for name in sorted(known - names):
            self._pullers.pop((*account, name)).cancel()
            self.queues.pop((*account, name), None)
        for name in sorted(names - known):
            queue = await broker.open(name)
            scope = self._pullers[*account, name] = anyio.CancelScope()
            self.queues[*account, name] = queue
            group.start_soon(self._pull, queue, scope, handlers)
        if names != known:
            await self._say(f"{broker.name} queues: {', '.join(sorted(names)) or 'none'}")

    async def _pull(self, queue: Queue, scope: anyio.CancelScope, handlers: TaskGroup) -> None:
        puller = Puller(
            self.parts,
            queue,
            Trust(is_named=self.is_named(queue.name)),
            self._limit,
            lambda work: self._start(handlers, work),
        )
        with scope:
            await puller.pull()

    # ------------------------------------------------------------------ handlers

    def _start(self, handlers: TaskGroup, work: Callable[[], Awaitable[Outcome]]) -> None:
        self._busy += 1
        self._tell()
        handlers.start_soon(self._see_to_its_end, work)

    async def _see_to_its_end(self, work: Callable[[], Awaitable[Outcome]]) -> None:
        outcome = await work()
        self._busy -= 1
        if isinstance(outcome, Deferred | Refused):
            self._limit.release()
        else:
            self._attempts += 1
            if 0 < self.ends.tasks <= self._attempts:
                self._begin_to_drain()
        self._tell()

    def _begin_to_drain(self) -> None:
        if not self._drain.is_set():
            self.drain()

    # ------------------------------------------------------------------ ends

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
                self._begin_to_drain()

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
