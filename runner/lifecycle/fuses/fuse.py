"""The host fuse: when failures in a row say that the machine is ill, and when it is trusted again.

Pure. One experiment that fails says nothing about the machine, nor does one project whose
experiments all fail: different experiments, of different projects, with nothing between them that
ran, do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from runner.model import Cause

#: May be the machine's fault, whoever's experiment it was.
SUSPICIOUS = frozenset(
    {
        Cause.HOST_FAULT,
        Cause.SANDBOX_UNAVAILABLE,
        Cause.GPU_FAULT,
        Cause.OUT_OF_DISK,
        Cause.REQUIREMENTS,
        Cause.PYTHON_MISSING,
        Cause.INTERNAL,
    }
)
#: It ran, whatever became of it then: the machine is well.
RAN = frozenset(
    {
        Cause.COMPLETED,
        Cause.EXIT,
        Cause.SIGNAL,
        Cause.OUT_OF_MEMORY,
        Cause.GPU_OUT_OF_MEMORY,
        Cause.TIME_LIMIT,
        Cause.IDLE,
    }
)
#: What one project gets wrong, it gets wrong in all of its experiments.
_OF_PROJECTS = frozenset({Cause.REQUIREMENTS, Cause.PYTHON_MISSING})
#: No experiment can bring this about, however its project looks.
_OF_MACHINE = frozenset({Cause.SANDBOX_UNAVAILABLE})
#: Seconds from the blowing to the probe; twice as long each time, up to the longest.
_PAUSE, _LONGEST_PAUSE = 30.0, 600.0
_MOST_SIGNS = 100


@dataclass(frozen=True, slots=True)
class Sign:
    """How one attempt ended."""

    cause: Cause
    #: Of the experiment; empty where it came to none.
    key: str
    #: The queue's account and the experiment's project: whose it is.
    project: Hashable
    #: Those that it ran on.
    cards: tuple[str, ...] = ()
    #: Nothing of the experiment had begun: ``key`` is the attempt's.
    is_machines: bool = False

    @property
    def identity(self) -> Hashable:
        """What counts once, however often it fails: the same thing tried again is one failure."""
        if self.cause in _OF_PROJECTS:
            return ("project", self.project)
        if self.cause is Cause.GPU_FAULT and self.cards:
            return ("cards", frozenset(self.cards))
        return ("experiment", self.project, self.key)


def judged(row: Sequence[Sign], limit: int) -> str:
    """Say why these failures, one after another, are the machine's; empty: they need not be."""
    causes = {sign.cause for sign in row}
    projects = {sign.project for sign in row}
    several = len({sign.identity for sign in row})
    is_sure = all(sign.is_machines or sign.cause in _OF_MACHINE for sign in row)
    if several < limit or (len(projects) < 2 and not is_sure):  # noqa: PLR2004
        return ""
    named = ", ".join(sorted(cause.value for cause in causes))
    whose = f"{len(projects)} projects" if len(projects) > 1 else "one project"
    return f"{several} experiments of {whose} failed in a row: {named}"


@dataclass(eq=False)
class Fuse:
    """Blows when the row is long enough, and is whole again when a probe has passed.

    Until something has really run after that, half as many failures are enough.
    """

    #: Failures; 0: it never blows.
    limit: int = 0
    clock: Callable[[], float] = time.monotonic
    #: Called when it blows, and when a probe is due earlier.
    listeners: list[Callable[[], None]] = field(default_factory=list)
    #: Why it has blown; empty: it is whole.
    why: str = ""
    #: What the last probe lacked.
    trouble: str = ""
    #: How often, since it was made.
    times: int = 0
    _row: list[Sign] = field(default_factory=list)
    _pause: float = _PAUSE
    _probe_at: float = 0.0
    _is_on_probation: bool = False

    @property
    def is_blown(self) -> bool:
        """Nothing is to be claimed."""
        return bool(self.why)

    @property
    def said(self) -> str:
        """Why nothing is claimed, for people; empty where it is whole."""
        if self.why and self.trouble:
            return f"{self.why}; a probe experiment fails: {self.trouble}"
        return self.why

    @property
    def seconds_to_probe(self) -> float:
        """From now on; 0: a probe is due."""
        return max(0.0, self._probe_at - self.clock())

    def ended(self, sign: Sign) -> None:
        """Note how an attempt ended."""
        if sign.cause in RAN:
            self._row.clear()
            self._is_on_probation, self._pause = False, _PAUSE
            self.look_now()  # which was claimed before: somebody may have mended the machine
        elif sign.cause in SUSPICIOUS and not self.is_blown:
            self._row = [*self._row[-_MOST_SIGNS:], sign]
            self._judge()

    def look_now(self) -> None:
        """Have the probe made at once, if it has blown."""
        if self.is_blown:
            self._probe_at = self.clock()
            self._tell()

    def probed(self, trouble: str) -> None:
        """Note what a probe lacked; nothing: the machine is to be trusted again."""
        self.trouble = trouble
        if trouble:
            self._put_off()
            return
        self.why = ""
        self._row.clear()
        self._is_on_probation = True

    def _judge(self) -> None:
        limit = -(-self.limit // 2) if self._is_on_probation else self.limit
        why = judged(self._row, limit) if limit else ""
        if why:
            self.why, self.trouble = why, ""
            self.times += 1
            self._put_off()
            self._tell()

    def _put_off(self) -> None:
        self._probe_at = self.clock() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()
