"""Holds a run to its memory, cores and processes: by control groups, else by measuring it.

Groups bound it while it runs, and the kernel counts; a measured run is ended once it is seen above.
What asked for no memory is held to what the machine gives to experiments, and gives way where the
machine itself runs short.
"""

from __future__ import annotations

import os
import sys
import time

from runner.supervisor import hierarchies, usage
from runner.supervisor.grouping import groups_of
from runner.supervisor.shortage import Machine, Rivals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.supervisor import records
    from runner.supervisor.groups import Groups
    from runner.supervisor.launch import Launch

CAUSE = "out-of-memory"
CROWDED = "too-many-processes"
#: How a run is bounded: what ``Launch.enforce`` may be; empty: not at all.
CGROUP = "cgroup"
MEASURE = "measure"

#: Seconds between two looks, at most and at least.
_LONGEST, _SHORTEST = 1.0, 0.05
#: Bytes that a program can fill within a second: how near it may have come since the last look.
_SPEED = 4e9
#: Of the time, looking takes no more than one part in so many; the latter when the next look is due
#: sooner than in so many seconds.
_FRUGAL, _HASTY, _URGENT = 150, 20, 0.25
#: Seconds without a look, however long the last one took: on a busy machine that says nothing; and
#: where walking through hundreds of gigabytes takes itself so long.
_BLIND, _BLIND_FOR_WALKS = 2.0, 60.0
#: Pages are walked through where that was so cheap the last time, or where it decides.
_NEAR = 0.9


class BoundsFailed(OSError):
    """The run cannot be bounded as the operator demands."""


class Bounds:
    """What holds one run, from before its first process to after its last."""

    def __init__(self, launch: Launch, directory: bytes) -> None:
        """Nothing is made yet; ``directory`` is the run's own, beside those of others."""
        self.memory, self.cores, self.pids = launch.bounds
        self._is_asked = launch.memory_asked
        self._launch = launch
        self._rivals = Rivals(directory)
        self._groups: Groups | None = None
        self._machine: Machine | None = None
        self._peak = 0
        self._exact_cost = self._walked = 0.0
        self._pause = _LONGEST
        #: When to look again, on the monotonic clock.
        self.due = float("inf")

    def begin(self) -> None:
        """Make what holds it. Raises BoundsFailed."""
        if not self._launch.enforce:
            return
        found = hierarchies.homes()
        if self._launch.enforce == CGROUP:
            self._groups = self._made(found)
        own = found.v1.get("memory", "") or found.v2
        self._machine = Machine((own, "memory" in found.v1))
        if self._is_watched:
            self.due = time.monotonic()

    @property
    def directories(self) -> list[str]:
        """The groups that nobody else removes if we are killed."""
        return self._groups.directories if self._groups else []

    def join(self) -> None:
        """Enter them, in the process that is to be held. Raises OSError."""
        if self._groups is not None:
            self._groups.join()

    def look(self) -> tuple[str, str]:
        """See whether the run has to end: return the cause and a sentence, or nothing."""
        begun, self._pause, self._walked = time.monotonic(), _LONGEST, 0.0
        found = self._look()
        now = time.monotonic()
        frugal = _FRUGAL if self._pause > _URGENT else _HASTY
        rest = min(_BLIND, frugal * (now - begun - self._walked))
        self.due = now + max(self._pause, rest, min(_BLIND_FOR_WALKS, _HASTY * self._walked))
        return found

    def strike(self) -> None:
        """Make killing the run sure: nothing that it has can start anything more."""
        if self._groups is not None:
            self._groups.strike()

    def judge(self) -> tuple[str, str]:
        """Say when all is over what the kernel did to it: cause and sentence, or nothing."""
        if self._groups is None or not self._groups.oom_kills():
            return "", ""
        if not self._groups.was_full():
            return CAUSE, "the kernel killed a part of it: the machine had no memory left"
        return CAUSE, f"it needed more than {self._allowed()}"

    def crowd(self) -> str:
        """Say in a sentence that processes were refused, if there were any."""
        if self._groups is None or not self._groups.forks_refused():
            return ""
        return f"it reached the limit of {self.pids} processes and threads (--pids-limit)"

    def end(self, largest: int) -> dict[str, records.Value]:
        """Return what was counted, and remove what held the run.

        ``largest`` is the peak of its largest process, which a look may have missed.
        """
        held, self._groups = self._groups, None
        if held is None:
            return {"peak_memory": max(self._peak, largest)}
        found: dict[str, records.Value] = {
            "oom_kills": held.oom_kills(),
            "oom_scope": "cgroup",
            "forks_refused": held.forks_refused(),
        }
        found["peak_memory"] = held.peak() or max(self._peak, largest)
        if (cpu_time := held.cpu_time()) is not None:
            found["cpu_time"] = cpu_time
        held.remove()
        return found

    def _made(self, found: hierarchies.Homes) -> Groups | None:
        try:
            made = groups_of(self._launch.run_id, found)
            made.make(self.memory, self.cores, self.pids, hard_cores=self._launch.hard_cores)
        except OSError as error:
            if self._launch.enforce_strictly:
                raise BoundsFailed(
                    f"the run cannot have control groups of its own: {error}"
                ) from error
            sys.stderr.write(f"the run is measured, for it has no control groups: {error}\n")
            return None
        return made

    @property
    def _is_watched(self) -> bool:
        """A run in groups is looked at where the kernel ends only a part, or gives no bound."""
        if self._groups is None:
            return True
        return not self._is_asked or self._groups.version == 1

    def _look(self) -> tuple[str, str]:
        if self._groups is not None:
            if self._groups.oom_kills():
                return self.judge()
            if self._is_asked:
                return "", ""
            used = self._groups.now()
            self._peak = max(self._peak, used)
            return self._short(used)
        seen = usage.below(os.getpid())
        if self.pids and seen.threads > self.pids:
            text = (
                f"it had {seen.threads} processes and threads of the {self.pids} that are allowed"
            )
            return CROWDED, f"{text} (--pids-limit)"
        used = self._precise(seen)
        self._peak = max(self._peak, used)
        self._pause = _pause(self.memory - used if self.memory else None)
        if self.pids:
            self._pause *= max(_SHORTEST, 1 - seen.threads / self.pids)
        if self.memory and used > self.memory:
            return CAUSE, f"it used {shown(used)} of {self._allowed()}"
        return self._short(used)

    def _precise(self, seen: usage.Usage) -> int:
        """Count shared memory once where that is cheap, or where it decides."""
        decides = bool(self.memory) and seen.memory > _NEAR * self.memory
        if len(seen.pids) < 2 or not (decides or self._exact_cost * _FRUGAL < _LONGEST):  # noqa: PLR2004 - alone it shares with nobody
            return seen.memory
        begun = time.monotonic()
        used = min(seen.memory, usage.exactly(seen.pids))
        self._exact_cost = self._walked = time.monotonic() - begun
        return used

    def _short(self, used: int) -> tuple[str, str]:
        """See whether the machine runs out of memory, and this run is the one that took it."""
        machine = self._machine
        assert machine is not None  # noqa: S101 - begin made it
        left = machine.available()
        excess = used - (self.memory if self._is_asked else 0)
        self._pause = min(self._pause, _pause(left - machine.danger))
        if left > 2 * machine.danger or excess < machine.danger:
            return "", ""
        if not self._rivals.is_first(excess) or left > machine.danger:
            return "", ""
        return CAUSE, (
            f"only {shown(left)} of memory were left on the machine, and it used {shown(used)}, "
            "more beyond what it asked for than any other"
        )

    def _allowed(self) -> str:
        if self._is_asked:
            return f"the {shown(self.memory)} of memory that it asked for"
        return f"the {shown(self.memory)} of memory that this machine gives to experiments"


def _pause(left: int | None) -> float:
    """Return the seconds until what is ``left`` may be used up, within reason."""
    if left is None:
        return _LONGEST
    return min(_LONGEST, max(_SHORTEST, left / _SPEED))


def shown(size: int) -> str:
    """Write a number of bytes for people; they asked in decimal units."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:  # noqa: PLR2004 - would be shown as 1000
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
