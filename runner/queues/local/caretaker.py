"""The background of a local broker: it listens, looks and sweeps while the broker is open."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.abc
import structlog

from runner import blocking
from runner.errors import HostFault, QueueUnavailable
from runner.queues.local import counts, names
from runner.queues.local.beats import Holder
from runner.queues.local.bell import Bell
from runner.queues.local.inotify import Event, On
from runner.queues.local.lane import Lane
from runner.queues.local.places import Places, translated
from runner.queues.local.sweep import Sweep
from runner.queues.local.watch import FOR_MESSAGES, FOR_QUEUES, Watch

T = TypeVar("T")
log = structlog.stdlib.get_logger(__name__)

_THREADS = 8
#: Four looks in a lease, but never so many or so few that either would be noticed.
_SHORTEST_INTERVAL = 0.05
_LONGEST_INTERVAL = 15.0
#: Twice this, at most, comes to a lease until a claim is seen to have expired.
_GLANCE = 2.0
#: How often to look where nothing wakes us.
_WITHOUT_INOTIFY = 1.0


class Caretaker:
    """Serves the queues of one root. Its tasks start when somebody first waits for a message."""

    def __init__(self, root: Path, holder: Holder, poll: timedelta) -> None:
        self.root = root
        self.holder = holder
        self._poll = poll.total_seconds()
        quarter = holder.lease.total_seconds() / 4
        self._interval = min(max(quarter, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
        self._sweep = Sweep(root, holder, self._interval)
        self._limit = blocking.Limit(_THREADS)
        self._served: dict[Lane, Bell] = {}
        self._look_wanted = True
        self._watch: Watch | None = None
        self._trouble = ""

    async def __aenter__(self) -> Self:
        #: Rings when the set of queues may have changed.
        self.queues_changed = Bell()
        self._work = Bell()
        self._starting = anyio.Lock()
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The body's exception does not pass through the group: it would arrive wrapped.
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            if self._watch is not None:
                self._watch.close()

    async def call(self, function: Callable[[], T]) -> T:
        """Run blocking file operations, on any event loop. Raises QueueUnavailable.

        They are short and must be seen to their end: a claim that nobody knows of would be lost.
        """

        def work(_: blocking.Stop) -> T:
            with translated(self.root):
                return function()

        try:
            with anyio.CancelScope(shield=True):
                result = await blocking.call(work, limit=self._limit)
        except HostFault as error:
            said = f"the local queues below {self.root} cannot be used: {error}"
            raise QueueUnavailable(said) from error
        return result

    async def start(self) -> Watch:
        """Begin to listen and to look, unless that was done. Raises QueueUnavailable."""
        async with self._starting:
            if self._watch is not None:
                return self._watch
            await self.call(self._prepare)
            self._watch = watch = Watch(self.look_soon)
            self._group.start_soon(watch.listen)
            self._group.start_soon(self._tend, watch)
            await self.call(lambda: self._listen_to_root(watch))
            return watch

    async def serve(self, lane: Lane, bell: Bell) -> None:
        """Keep the lane's index, and ring when there is news."""
        watch = await self.start()
        self._served[lane] = bell

        def begin() -> None:
            lane.places.prepare()
            self._look(lane, watch)

        await self.call(begin)
        bell.ring()

    def look_soon(self) -> None:
        """Compare all indexes with their directories, because news was missed."""
        self._look_wanted = True
        self._work.ring()

    def sweep_soon(self) -> None:
        """Say, from any thread, that a message was hidden and that its time may be near."""
        self._work.ring_from_afar()

    async def _tend(self, watch: Watch) -> None:
        next_look = 0.0
        while True:
            news = self._work.listen()
            trouble = ""
            due: float | None = None
            try:
                due = await self.call(self._sweep.run)
            except QueueUnavailable as error:
                trouble = str(error)
            if self._look_wanted or time.monotonic() >= next_look:
                self._look_wanted = False
                often = self._poll if watch.works else min(self._poll, _WITHOUT_INOTIFY)
                next_look = time.monotonic() + often
                trouble = await self._look_at_all(watch) or trouble
            self._complain(trouble)
            wait = min(self._interval, next_look - time.monotonic())
            await self._rest(news, max(0.001, min(wait, wait if due is None else due)))

    async def _rest(self, news: anyio.Event, seconds: float) -> None:
        """Wait for news, with an eye on those who hold claims: whose machine dies tells nobody."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with anyio.move_on_after(min(left, _GLANCE) if self._sweep.sees_claims else left):
                await news.wait()
                return
            if self._sweep.sees_claims:
                try:
                    await self.call(self._sweep.glance)
                except QueueUnavailable:
                    return  # the next sweep says so

    async def _look_at_all(self, watch: Watch) -> str:
        """Refresh what is known of all queues and return what went wrong."""
        served = dict(self._served)

        def look() -> None:
            self._listen_to_root(watch)
            for lane in served:
                self._look(lane, watch)

        trouble = ""
        try:
            await self.call(look)
        except QueueUnavailable as error:
            trouble = str(error)
        for lane, bell in served.items():
            if len(lane.index):
                bell.ring()
        self.queues_changed.ring()
        return trouble

    def _look(self, lane: Lane, watch: Watch) -> None:
        if lane.places.messages != self.root:
            watch.add(lane.places.messages, FOR_MESSAGES, lambda event: self._heard(lane, event))
        lane.refresh()

    def _listen_to_root(self, watch: Watch) -> None:
        watch.add(self.root, FOR_QUEUES, self._heard_in_root)

    def _heard(self, lane: Lane, event: Event) -> None:
        if not event.mask & On.DIRECTORY and names.is_message(event.name):
            lane.index.note(event.name)
            self._served[lane].ring()

    def _heard_in_root(self, event: Event) -> None:
        if event.mask & On.DIRECTORY:
            self._heard_of_queue(event)
            return
        if not event.mask & FOR_MESSAGES:
            return
        flat = [lane for lane in self._served if lane.places.messages == self.root]
        for lane in flat:
            self._heard(lane, event)
        if not flat:
            self.queues_changed.ring()

    def _heard_of_queue(self, event: Event) -> None:
        if not names.is_queue(event.name):
            return
        self.queues_changed.ring()
        if any(lane.places.messages.name == event.name for lane in self._served):
            self.look_soon()

    def _prepare(self) -> None:
        self.root.mkdir(0o700, parents=True, exist_ok=True)
        (self.root / names.STATE).mkdir(0o700, exist_ok=True)
        for places in Places.all(self.root):
            counts.sweep(places)

    def _complain(self, trouble: str) -> None:
        """Say the same thing once, not at every look."""
        if trouble and trouble != self._trouble:
            log.warning("local queues cannot be looked after", reason=trouble)
        self._trouble = trouble
