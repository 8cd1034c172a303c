"""Control groups of version 1: a tree for each controller."""

from __future__ import annotations

from runner.supervisor.groups import PERIOD, Groups, first, if_there, number
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

    def _bound_memory(self, memory: int) -> None:
        self._write("memory", self._memory_file, memory)
        # What does not fit is not to go to the disk instead; no file without swap accounting.
        if_there(self._path("memory", "memory.memsw.limit_in_bytes"), memory)

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
        """Compare its peak with it; newer kernels do not count in ``memory.failcnt`` any more."""
        bound = first(self._path("memory", self._memory_file))
        return self.peak() >= bound - max(_BATCH, bound // 50)

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
