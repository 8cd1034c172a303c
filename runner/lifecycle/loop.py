"""The daemon's loop: follows all queues, receives where there is room, and ends in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from runner.lifecycle.chore import Chore
from runner.lifecycle.host_news import HostNews
from runner.lifecycle.parts import Parts
from runner.lifecycle.resumption import Resumption
from runner.lifecycle.rush import Haste, Rush
from runner.lifecycle.sources.accounts import Account
from runner.lifecycle.sources.aside import Aside
from runner.lifecycle.sources.pulling import Limit, Puller
from runner.lifecycle.sources.receiving import Receiving, names_queue
from runner.lifecycle.sources.source import Source
from runner.lifecycle.sources.supply import Supply
from runner.lifecycle.sources.trust import Trust
from runner.lifecycle.sources.vanishing import APART
from runner.model import Cause, Deferred, News, Outcome, Refused, Report
from runner.queues.base import Queue


@dataclass(frozen=True, slots=True)
class Ends:
    """When the daemon ends by itself; zero means never."""

    #: Attempts that are begun, at most, and after whose end it drains.
    tasks: int = 0
    idle: timedelta = timedelta(0)
    #: How long a drain waits for runs to finish.
    grace: timedelta = timedelta(minutes=10)


#: Seconds that a broker takes at most to hand out what it was given back.
_HANDED_OUT_AGAIN = 0.5


class _NoLimit:
    async def acquire(self) -> None:
        """Permit it."""

    def release(self) -> None:
        """Nothing is counted."""


@dataclass(eq=False)
class Loop:
    """Everything between start and end of the daemon; ``run`` returns when it has drained."""

    parts: Parts
    supply: Supply
    ends: Ends = Ends()
    #: The operator named this very queue: it is never set aside.
    is_named: Callable[[str], bool] = lambda _: False
    #: Between the first and the last definite no before a queue is believed to be deleted.
    apart: timedelta = APART
    #: Queues that are somebody else's.
    aside: Aside = field(default_factory=Aside)
    _receiving: Receiving | None = None
    _rush: Rush = field(init=False)
    _drain: anyio.Event = field(default_factory=anyio.Event)
    _stop: anyio.Event = field(default_factory=anyio.Event)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _limit: Limit = field(default_factory=_NoLimit)
    _attempts: int = 0
    _busy: int = 0

    def __post_init__(self) -> None:
        self._rush = Rush(self.parts.board, self.parts.options.kill_grace)

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The queues that are taken from, by address."""
        return self._receiving.queues if self._receiving else {}

    @property
    def busy(self) -> int:
        """How much is under way."""
        return self._busy

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

    def hasten(self, haste: Haste) -> None:
        """Stop what runs, and leave what is not stored within the time there is."""
        self._rush.hurry(haste)
        while not self._stop.is_set():
            self.drain()

    async def receive_no_more(self) -> None:
        """Wait until no receive is open; what runs goes on, for us or for the next daemon."""
        self.parts.intake.close()
        if self._receiving is not None:
            self._receiving.shut()
            await self._receiving.until_shut()
        await self.parts.guards.until_none()

    async def run(self, adopted: Sequence[Resumption] = ()) -> None:
        """Serve until drained. Cancelling leaves every run alone, for the next daemon."""
        if self.ends.tasks > 0:
            self._limit = anyio.Semaphore(max(0, self.ends.tasks - len(adopted)))
        async with anyio.create_task_group() as group:
            for handling in adopted:
                record = handling.entry.record
                self._start(group, (record.broker, record.project), handling.resume)
            group.start_soon(self.parts.intake.keep_looking)
            group.start_soon(self._end_by_itself)
            group.start_soon(self._rush.watch)
            news = HostNews(self.parts, self.supply, lambda: self.queues)
            group.start_soon(Chore("telling what to look after", news.watch).keep)
            group.start_soon(self._end_when_idle, bool(adopted))
            async with anyio.create_task_group() as receivers:
                receiving = self._receiving = self._made_receiving(group)
                receivers.start_soon(receiving.serve)
                await self._drain.wait()
                receiving.shut()
                await self._finish_within_grace(receiving)
                await self._stop_the_rest(receiving)
                # A poll that is still open now is cut off; what it brings is visible again soon.
                receivers.cancel_scope.cancel()
            await self.parts.guards.until_none()
            group.cancel_scope.cancel()

    def _made_receiving(self, handlers: TaskGroup) -> Receiving:
        def puller(source: Source, queue: Queue) -> Puller:
            is_named = self.is_named(queue.name) or names_queue(
                source.credential.queues, queue.name
            )
            return Puller(
                self.parts,
                queue,
                Trust(is_named=is_named),
                self._limit,
                lambda work: self._start(handlers, source.account, work),
                echo=source.echo,
            )

        return Receiving(self.parts, self.supply, puller, self.apart, aside=self.aside)

    # ------------------------------------------------------------------ handlers

    def _start(
        self, handlers: TaskGroup, account: Account, work: Callable[[], Awaitable[Outcome]]
    ) -> None:
        self._busy += 1
        self._tell()
        handlers.start_soon(self._see_to_its_end, account, work)

    async def _see_to_its_end(
        self, account: Account, work: Callable[[], Awaitable[Outcome]]
    ) -> None:
        with self.supply.used(account):
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

    async def _end_when_idle(self, has_served: bool) -> None:  # noqa: FBT001 - asked for here alone
        """End where that is wanted; one that is only just started waits for better days instead.

        Whoever starts daemons, a Deployment say, would start the next one at once, for ever.
        """
        suspension = self.parts.intake.suspension
        suspension.listeners.append(self._tell)
        while not self._drain.is_set():
            has_served = has_served or not (suspension.wants_end or suspension.is_undecided)
            if suspension.wants_end and has_served and not self._busy:
                await self._say(f"nothing runs any more: the daemon ends, {suspension.said}")
                self._begin_to_drain()
            await self._changed.wait()

    async def _finish_within_grace(self, receiving: Receiving) -> None:
        if self._busy:
            await self._say(f"draining: {self._busy} under way")
        with anyio.move_on_after(self.ends.grace.total_seconds()):
            async with anyio.create_task_group() as group:
                group.start_soon(self._cancel_when_stopped, group.cancel_scope)
                await receiving.until_shut()
                await self._until_idle()
                group.cancel_scope.cancel()

    async def _stop_the_rest(self, receiving: Receiving) -> None:
        """Give back what runs, and once more what a broker hands to a poll of ours then.

        Had the poll been cut off before, the broker would not know, and hide the message again.
        """
        is_any = self._busy > 0
        self._rush.press()
        haste = self._rush.haste
        why = "the daemon stops" if haste is None else f"the daemon stops: {haste.why}"
        for entry in self.parts.board:
            entry.stopper.stop(Cause.DRAINED, why)
        await self._until_idle()
        if is_any:
            with anyio.move_on_after(_HANDED_OUT_AGAIN):
                await receiving.until_shut()

    async def _cancel_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    async def _until_idle(self) -> None:
        while self._busy:
            await self._changed.wait()

    async def _say(self, text: str) -> None:
        await self.parts.report(Report(News.DAEMON_DRAINING, text))
