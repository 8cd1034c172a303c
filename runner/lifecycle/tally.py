"""What a daemon has done since it began, as plain numbers: for metrics, and decided by nobody.

Names come from messages and from brokers, so each kind of them is bounded: those that are first
seen keep a number of their own, all further ones share ``OTHER``.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.model import Ack, Bury, Cause, Disposition, Release

OTHER = "other"
_MOST_PROJECTS, _MOST_QUEUES = 50, 200
_LONGEST_NAME = 100
#: What the broker was told, in a word.
SETTLED = {Ack: "acked", Release: "released", Bury: "buried"}


class Stage(enum.StrEnum):
    """What an attempt is doing; the values are shown by ``status``."""

    CLAIM = "claiming"
    ROOM = "waiting for room"
    RESUME = "resuming"
    #: Whether it may begin.
    HOOK = "asking the hook"
    FETCH = "fetching"
    ENVIRONMENT = "building"
    #: Ready but for the cards, which others have.
    GPU = "waiting for a GPU"
    START = "starting"
    RUN = "running"
    #: It was asked to end, and is given its grace.
    STOP = "stopping"
    UPLOAD = "uploading"
    SETTLE = "settling"


#: Upper bounds in seconds. A hit of a cache takes milliseconds, a run days.
SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
LONG = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 10800.0, 21600.0, 43200.0, 86400.0, 259200.0)
LAG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class Durations:
    """A histogram of seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        #: Per bucket, not cumulative; the last one has no bound.
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; a clock that was set back makes none negative."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Names:
    """The first ``most`` names that are seen; the others are one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """Return what a name is counted as; always printable and short."""
        shown = name[:_LONGEST_NAME].encode("utf-8", "backslashreplace").decode()
        if shown not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(shown)
        return shown


@dataclass(frozen=True, slots=True)
class Place:
    """Where attempts are counted: names as ``Names`` gave them."""

    broker: str
    queue: str
    project: str


@dataclass(eq=False)
class Tally:
    """One daemon's numbers; written on the main loop."""

    stages: dict[Stage, Durations] = field(
        default_factory=lambda: {
            stage: Durations(LONG if stage is Stage.RUN else SHORT) for stage in Stage
        }
    )
    #: By how much the main loop came late.
    lag: Durations = field(default_factory=lambda: Durations(LAG))
    #: Attempts that were settled.
    completed: Counter[Place] = field(default_factory=Counter)
    #: The same by cause and by what the broker was told: ``acked``, ``released``, ``buried``.
    ended: Counter[tuple[Cause, str]] = field(default_factory=Counter)
    #: Environments that were built for an attempt, and that were there.
    built: int = 0
    reused: int = 0
    #: Of artifacts: read from stores, without what a cache had; and sent to them.
    fetched_bytes: int = 0
    sent_bytes: int = 0
    checkpoints: int = 0
    #: Looks into a queue, by broker and queue as ``queue`` names it.
    checked: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Lists of queues that came, and what kept one from coming; by broker.
    listed: Counter[str] = field(default_factory=Counter)
    unlisted: Counter[str] = field(default_factory=Counter)
    _projects: Names = field(default_factory=lambda: Names(_MOST_PROJECTS))
    _queues: Names = field(default_factory=lambda: Names(_MOST_QUEUES))

    def place(self, broker: str, queue: str, project: str) -> Place:
        """Return where an attempt is counted."""
        return Place(broker, self.queue(queue), self._projects.of(project))

    def queue(self, name: str) -> str:
        """Return what a queue is counted as."""
        return self._queues.of(name)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Count a stage of an attempt that is over."""
        self.stages[stage].add(seconds)

    def end(self, place: Place, cause: Cause, disposition: Disposition) -> None:
        """Count an attempt that was settled."""
        self.completed[place] += 1
        self.ended[cause, SETTLED[type(disposition)]] += 1

    def environment(self, *, reused: bool) -> None:
        """Count an environment that an attempt got."""
        self.reused += reused
        self.built += not reused
