"""How much processor time and memory a run takes, read from ``/proc`` while it goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runner.model import Bytes
from runner.supervisor import usage

_TICKS = os.sysconf("SC_CLK_TCK")
#: Fields of ``/proc/PID/stat`` after the command's name: its own time, and that of those it has
#: waited for, each as user and system.
_OWN, _CHILDREN = slice(11, 13), slice(13, 15)

#: So much is not worth being told exactly.
_LITTLE = 16 << 20


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run has taken so far, and has now."""

    #: User and system, of all its processes, also of those that have ended.
    cpu_seconds: float
    #: What is nobody's file; what processes share counts once.
    memory: Bytes


def taken(supervisor: int) -> Taken:
    """Look now, at everything below a run's supervisor. It may take some ms for each gigabyte.

    Whoever ends leaves its time to its parent, and an orphan to the supervisor: none is lost.
    """
    pids = usage.below(supervisor).pids
    ticks = _ticks(supervisor, _CHILDREN)
    ticks += sum(_ticks(pid, _OWN) + _ticks(pid, _CHILDREN) for pid in pids)
    return Taken(ticks / _TICKS, Bytes(usage.exactly(pids)))


def glanced(supervisor: int) -> Taken:
    """Look as ``taken`` does, at next to no cost where the run is one process, however large."""
    found = usage.below(supervisor)
    ticks = _ticks(supervisor, _CHILDREN)
    ticks += sum(_ticks(pid, _OWN) + _ticks(pid, _CHILDREN) for pid in found.pids)
    is_one = len(found.pids) <= 1 or found.memory < _LITTLE
    memory = found.memory if is_one else usage.exactly(found.pids)
    return Taken(ticks / _TICKS, Bytes(memory))


def _ticks(pid: int, fields: slice) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0  # it has ended; its time is its parent's from now on
    return sum(map(int, text.rpartition(b")")[2].split()[fields]))
