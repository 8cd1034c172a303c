"""Control groups of version 1: a tree for each controller."""

from __future__ import annotations

import os

from runner.supervisor.groups import PERIOD, Groups, first, if_there, number, write
from runner.supervisor.hierarchies import words

#: Of one core, and the most that can be written.
_WEIGHT, _MOST = 1024, 262_144
#: Each processor takes memory of the group in advance: the last bytes may never be used.
_BATCH = 1 << 20


class GroupsV1(Groups):
    """A directory in each of the trees."""

    version = 1
    _memory_file = "memory.limit_in_bytes"
    _quota_file = "cpu.cfs_quota_us"
    # Who moves its own thread alone waits for nobody; "cgroup.procs" stops all the machine's forks
    # and exits for it, and waits 5 to 20 ms until it can (from Linux 5.5 on).
    _door = "tasks"
    #: Counts how often nothing more could be given back in there, or in a group around it.
    _bell = -1
    _rings = 0

    def remove(self) -> None:
        """See ``Groups``."""
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1
        super().remove()

    def _bound_memory(self, memory: int) -> None:
        self._write("memory", self._memory_file, memory)
        # What does not fit is not to go to the disk instead; no file without swap accounting.
        if_there(self._path("memory", "memory.memsw.limit_in_bytes"), memory)
        self._bell = _hung_up(self._by_controller["memory"])

    def _bound_cores(self, cores: float, *, hard: bool) -> None:
        weight = min(_MOST, max(2, int(cores * _WEIGHT)))
        if_there(self._path("cpu", "cpu.shares"), weight)
        if hard:
            if_there(self._path("cpu", "cpu.cfs_period_us"), PERIOD)
            if_there(self._path("cpu", self._quota_file), int(cores * PERIOD))

    def oom_kills(self) -> int:
        """Read the counter that there is for each group alone."""
        return number(self._path("memory", "memory.oom_control"), "oom_kill")

    def was_full(self) -> bool:
        """Compare its peak with it; newer kernels do not count in ``memory.failcnt`` any more.

        A peak may be all cache, which is given back: there was no want of memory in here then.
        """
        bound = first(self._path("memory", self._memory_file))
        return self._rang() and self.peak() >= bound - max(_BATCH, bound // 50)

    def _rang(self) -> bool:
        """Tell whether memory was wanting in there; where that is not told, it may have been."""
        if self._bell < 0:
            return True
        try:
            self._rings += os.eventfd_read(self._bell)
        except BlockingIOError:
            pass  # not since we last asked
        return self._rings > 0

    def peak(self) -> int:
        """Read the high-water mark."""
        return first(self._path("memory", "memory.max_usage_in_bytes"))

    def now(self) -> int:
        """Add up what is no file's."""
        stat = self._path("memory", "memory.stat")
        return number(stat, "total_rss") + number(stat, "total_shmem")

    def cpu_time(self) -> float | None:
        """Read the group's own clock."""
        found = words(self._path("cpuacct", "cpuacct.usage"))
        return int(found[0]) / 1e9 if found else None

    def strike(self) -> None:
        """Let nothing fork; they are ended one by one."""
        if_there(self._path("pids", "pids.max"), 0)


def _hung_up(directory: str) -> int:
    """Return a descriptor that counts when memory is wanting; -1 where the kernel tells nobody."""
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        told = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(f"{directory}/cgroup.event_control", f"{bell} {told}")
        finally:
            os.close(told)
    except OSError:
        os.close(bell)
        return -1
    return bell
