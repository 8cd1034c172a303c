"""Control groups of version 2: one tree, whose groups hand controllers down."""

from __future__ import annotations

import errno
import os

from runner.supervisor.groups import NEEDED, PERIOD, Groups, first, if_there, number, write
from runner.supervisor.hierarchies import LEAF, Homes, lines, words

#: Of one core, and the most that can be written.
_WEIGHT, _MOST = 100, 10_000
_TRIES = 10
_BUSY = frozenset({errno.EBUSY, errno.ENOTEMPTY})


class GroupsV2(Groups):
    """One directory, with all controllers."""

    version = 2
    _memory_file = "memory.max"
    _quota_file = "cpu.max"

    def __init__(self, name: str, homes: Homes) -> None:
        super().__init__(
            name, dict.fromkeys(("", *homes.controllers), f"{homes.v2.rstrip('/')}/{name}")
        )
        self._homes = homes

    def make(self, memory: int, cores: float, pids: int, *, hard_cores: bool = True) -> None:
        """Have the controllers there first. Raises OSError."""
        _hand_down(self._homes)
        super().make(memory, cores, pids, hard_cores=hard_cores)

    def _bound_memory(self, memory: int) -> None:
        self._write("memory", self._memory_file, memory)
        if_there(self._path("memory", "memory.swap.max"), 0)
        # One killed process of many leaves the others waiting for it.
        if_there(self._path("memory", "memory.oom.group"), 1)

    def _bound_cores(self, cores: float, *, hard: bool) -> None:
        weight = min(_MOST, max(1, int(cores * _WEIGHT)))
        if_there(self._path("cpu", "cpu.weight"), weight)
        if hard:
            if_there(self._path("cpu", self._quota_file), f"{int(cores * PERIOD)} {PERIOD}")

    def oom_kills(self) -> int:
        """Read the counter that there is for each group alone."""
        return number(self._path("memory", "memory.events"), "oom_kill")

    def was_full(self) -> bool:
        """Look whether the kernel ever found no more to reclaim at it."""
        return number(self._path("memory", "memory.events"), "oom") > 0

    def peak(self) -> int:
        """Read the high-water mark."""
        return first(self._path("memory", "memory.peak"))  # since Linux 5.19

    def now(self) -> int:
        """Add up what is no file's."""
        stat = self._path("memory", "memory.stat")
        return number(stat, "anon") + number(stat, "shmem")

    def cpu_time(self) -> float | None:
        """Read the group's own clock."""
        stat = self._path("", "cpu.stat")
        return number(stat, "usage_usec") / 1e6 if lines(stat) else None

    def strike(self) -> None:
        """End all at once where the kernel can."""
        if_there(self._path("", "cgroup.kill"), 1)  # since Linux 5.14
        if_there(self._path("pids", "pids.max"), 0)


def _hand_down(homes: Homes) -> None:
    """Have the groups below get their controllers. Raises OSError."""
    path = f"{homes.v2}/cgroup.subtree_control"
    wanted = [one for one in (*NEEDED, "cpu") if one in homes.controllers]
    missing = [one for one in wanted if one not in words(path)]
    if missing and not homes.is_ours:
        raise OSError(f"the control group {homes.v2} is somebody else's: Delegate=yes gives it")
    for controller in missing:
        _enable(homes.v2, controller)


def _enable(home: str, controller: str) -> None:
    for again in reversed(range(_TRIES)):
        try:
            write(f"{home}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno not in _BUSY or not again:
                raise
            _clear(home)  # others of ours may have started more meanwhile
        else:
            return


def _clear(home: str) -> None:
    """Move who is in the group itself into its leaf."""
    leaf = f"{home}/{LEAF}"
    os.makedirs(leaf, exist_ok=True)
    for pid in words(f"{home}/cgroup.procs"):
        try:
            write(f"{leaf}/cgroup.procs", pid)
        except ProcessLookupError:
            pass  # it has just ended
