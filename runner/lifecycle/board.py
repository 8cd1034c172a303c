"""The board of attempts under way: what status shows, and where cancel finds its target."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from runner import log
from runner.errors import HostFault
from runner.lifecycle.artifacts.progress import Progress
from runner.lifecycle.runs.record import Record, Records
from runner.lifecycle.stopper import Stopper
from runner.lifecycle.tally import Stage
from runner.lifecycle.trail import Tracing, Trail
from runner.queues.base import Delivery
from runner.request.units import format_size

_log = log.get_logger(__name__)


async def _nobody(_: Delivery) -> bool:
    return False


@dataclass(eq=False)
class Entry:
    """One attempt under way."""

    record: Record
    stopper: Stopper = field(default_factory=Stopper)
    #: What it does now; changed by ``begin``.
    stage: Stage = Stage.CLAIM
    #: What keeps it there, for people; empty while nothing does.
    waits: str = ""
    #: The captured output, once there is a workspace.
    output: Path | None = None
    #: How far its artifacts have come.
    progress: Progress = field(default_factory=Progress)
    #: Where its sender wants news of it, as far as the operator allows that.
    destination: str = ""
    #: The numbers that its metadata hold so far, by path.
    metrics: Callable[[], Mapping[str, float]] = dict
    #: The cards that it was started on.
    ran_on: tuple[str, ...] = ()
    #: An earlier daemon began it.
    is_adopted: bool = False
    #: Its request came sealed: reports about it go out sealed, or not at all.
    is_sealed: bool = False
    #: Something was said of it on its response queue.
    is_told: bool = False
    #: Since when its cards and its output are silent, as soon as that is long; since the epoch.
    idle_since: float | None = None
    #: It was ended for holding more of the disk than it may: it would be so anywhere.
    outgrew: bool = False
    #: Its supervisor's pid while it runs; 0: there is none.
    supervisor: int = 0
    #: Seconds that it may run; known once it does.
    limit: float | None = None
    #: Bytes that its workspace held when somebody last looked.
    disk_held: int | None = None
    #: Has it hold its message by another delivery; whether it could.
    attach: Callable[[Delivery], Awaitable[bool]] = _nobody
    #: When its run ended, since the epoch; 0 until then.
    ended_at: float = 0.0
    #: Seconds of the stages that are over, in their order.
    spent: dict[Stage, float] = field(default_factory=dict)
    #: Told of each stage that is over; the board says by whom.
    timed: Callable[[Stage, float], None] = lambda *_: None
    #: Its spans; the board says where they go.
    trail: Trail = field(default_factory=Trail)
    _since: float = field(default_factory=time.monotonic)
    #: When it was claimed, by the clock of ``_since``.
    _claimed: float = field(init=False)

    def __post_init__(self) -> None:
        # Nobody knows what an earlier daemon's clock showed; the other one may have been set since.
        before = time.time() - self.record.claimed_at if self.is_adopted else 0.0
        self._claimed = self._since - max(0.0, before)

    @property
    def seconds(self) -> float:
        """How long ago it was claimed, by a clock that nobody sets while we look."""
        return time.monotonic() - self._claimed

    def begin(self, stage: Stage, *, before: timedelta = timedelta(0)) -> None:
        """Go on to the next stage, which had lasted for ``before`` under an earlier daemon."""
        self.end()
        self.stage, self._since = stage, self._since - before.total_seconds()
        self.waits = ""

    def end(self) -> None:
        """Count the present stage: it is over."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self.spent[self.stage] = self.spent.get(self.stage, 0.0) + seconds
        self.timed(self.stage, seconds)
        self.trail.over(self.record, self.stage, seconds)

    @property
    def fetched(self) -> tuple[int, int] | None:
        """Bytes that are here and bytes in all, while a fetch takes long."""
        return self.progress.now if self.stage is Stage.FETCH else None

    @property
    def phase(self) -> str:
        """The stage for people: ``fetching 1.2 GB of 4.0 GB``, ``running, idle``.

        Or ``uploading, waiting for the store``.
        """
        if self.fetched is None:
            is_idle = self.idle_since is not None and self.stage is Stage.RUN
            more = "idle" if is_idle else self.waits
            return f"{self.stage}, {more}" if more else self.stage
        done, total = self.fetched
        return f"{self.stage} {format_size(done)} of {format_size(total)}"

    def leave(self, records: Records) -> None:
        """Write down that the daemon leaves in order: nobody need ask what it died of."""
        self.record = self.record.but(is_left=True)
        try:
            records.rewrite(self.record)
        except HostFault as error:
            _log.error("the next daemon will count a death", trouble=str(error))

    def note(self, records: Records, **changes: Any) -> None:
        """Change the record of a run under way; a disk that takes no record must not end it."""
        self.record = self.record.but(**changes)
        try:
            records.write(self.record)
        except HostFault as error:
            _log.error("the next daemon will not know of this", trouble=str(error), **changes)


class Board:
    """Everything that this daemon is doing."""

    def __init__(
        self,
        timed: Callable[[Stage, float], None] = lambda *_: None,
        tracing: Tracing = Tracing(),  # noqa: B008 - frozen
    ) -> None:
        """``timed`` is told how long each stage of an attempt took, ``tracing`` when it was."""
        self._timed = timed
        self._tracing = tracing
        self._entries: dict[str, Entry] = {}
        self._stirred = anyio.Event()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, entry: Entry) -> None:
        """Show an attempt."""
        entry.timed = self._timed
        entry.trail.tracing = self._tracing
        self._entries[entry.record.run] = entry
        self.stir()

    def stir(self) -> None:
        """Wake who sleeps while nothing is under way."""
        self._stirred.set()
        self._stirred = anyio.Event()

    async def stirred(self) -> None:
        """Wait until something begins."""
        await self._stirred.wait()

    def leave(self, run: str) -> None:
        """Take an attempt off the board."""
        entry = self._entries.pop(run, None)
        if entry is not None:
            entry.end()
            entry.trail.close(entry.record)

    def of_run(self, run: str) -> Entry | None:
        """Find an attempt by its own name."""
        return self._entries.get(run)

    def find(self, key: str) -> Entry | None:
        """Find an attempt by its experiment's key; the latest where there are several."""
        found = [entry for entry in self if entry.record.key == key]
        return found[-1] if found else None

    def of_message(self, fresh: Record) -> Entry | None:
        """Find the attempt that was begun with the message of which a fresh record tells."""
        message, account = fresh.message, (fresh.broker, fresh.project)
        for entry in self:
            record, known = entry.record, entry.record.message
            is_of_queue = (record.broker, record.project, known.queue) == (*account, message.queue)
            is_same = (known.id, known.body) == (message.id, message.body)
            # One that the attempt itself has sent on stands for the first.
            if is_of_queue and (is_same or message.mark == record.run):
                return entry
        return None
