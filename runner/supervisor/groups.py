"""The control groups of one run: made, bounded, entered, asked and removed."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from runner.supervisor import leases
from runner.supervisor.hierarchies import Homes, lines, words
from runner.supervisor.processes import PREFIX

#: What the walls of a run need, besides its own processes.
_SPARE_PIDS = 8
#: Microseconds in which the share of processor time is counted.
PERIOD = 100_000
#: Without these a group is no bound.
NEEDED = ("memory", "pids")
USED = (*NEEDED, "cpu", "cpuacct")
_TRIES = 10
#: Seconds.
_MOMENT = 0.002


class Groups:
    """One directory in each tree; this class is what both versions have in common."""

    version: int
    #: Where the bounds of memory and of processor time are written.
    _memory_file: str
    _quota_file: str
    #: What a process that has one thread writes 0 into to enter.
    _door = "cgroup.procs"

    def __init__(self, name: str, directories: dict[str, str]) -> None:
        """``directories`` are the run's own, by controller; several may be the same one."""
        self.name = name
        self._by_controller = directories
        self.directories = sorted(set(directories.values()))
        self._held = list[int]()

    def make(self, memory: int, cores: float, pids: int, *, hard_cores: bool = True) -> None:
        """Make the groups with their bounds; 0 is none. Raises OSError, and leaves none then."""
        try:
            for directory in self.directories:
                self._held.append(_made(directory))
            if memory:
                self._bound_memory(memory)
            if pids:
                self._write("pids", "pids.max", pids + _SPARE_PIDS)
            if cores and "cpu" in self._by_controller:
                self._bound_cores(cores, hard=hard_cores)
        except OSError:
            self.remove()
            raise

    def join(self) -> None:
        """Enter, with what this process of one thread will start. Raises OSError."""
        for directory in self.directories:
            write(f"{directory}/{self._door}", 0)

    def members(self) -> list[int]:
        """Return the processes that are in there."""
        return [int(word) for word in words(f"{self.directories[0]}/cgroup.procs")]

    def remove(self) -> None:
        """Remove the groups, which nobody is in any more; what cannot be stays for ``sweep``."""
        while self._held:
            os.close(self._held.pop())
        remove(self.directories)

    def bounds(self) -> dict[str, int]:
        """Return what the kernel says that it keeps to; 0 is no bound."""
        return {
            "memory": first(self._path("memory", self._memory_file)),
            "pids": first(self._path("pids", "pids.max")),
            "cpu": first(self._path("cpu", self._quota_file)),
        }

    def forks_refused(self) -> int:
        """Return how often there were too many processes already."""
        return number(self._path("pids", "pids.events"), "max")

    def oom_kills(self) -> int:
        """Return how many of its processes the kernel killed for want of memory."""
        raise NotImplementedError

    def was_full(self) -> bool:
        """Tell whether it ever reached its own bound of memory, not only one around it."""
        raise NotImplementedError

    def peak(self) -> int:
        """Return the most memory that was in use at once, in bytes; 0 where nobody counted."""
        raise NotImplementedError

    def now(self) -> int:
        """Return what is in use now and could not be given back at once."""
        raise NotImplementedError

    def cpu_time(self) -> float | None:
        """Return the processor time of all, in seconds; ``None`` where nobody counted."""
        raise NotImplementedError

    def strike(self) -> None:
        """Let no process of the run start another one, or end them all, whichever there is."""
        raise NotImplementedError

    def _bound_memory(self, memory: int) -> None:
        raise NotImplementedError

    def _bound_cores(self, cores: float, *, hard: bool) -> None:
        raise NotImplementedError

    def _path(self, controller: str, name: str) -> str:
        return f"{self._by_controller.get(controller, '')}/{name}"

    def _write(self, controller: str, name: str, value: object) -> None:
        write(self._path(controller, name), value)


def sweep(homes: Homes) -> None:
    """Remove the groups that runs have left whose supervisors were killed."""
    for home in {*(homes.v1.get(one, "") for one in USED), homes.v2} - {""}:
        try:
            names = [name for name in os.listdir(home) if name.startswith(PREFIX)]
        except OSError:
            continue
        for directory in (f"{home}/{name}" for name in names):
            if not leases.is_held(os.fsencode(directory), by_anybody=True):
                remove([directory])


def remove(directories: list[str]) -> None:
    """Remove the groups, the runs' own below them first; what is in use stays."""
    for directory in directories:
        for below, _, _ in os.walk(directory, topdown=False):
            _remove(below)


def _remove(directory: str) -> None:
    for _ in range(_TRIES):
        try:
            os.rmdir(directory)
        except OSError as error:
            # Who has just died is in there for a moment longer, unseen.
            if error.errno != errno.EBUSY or words(f"{directory}/cgroup.procs"):
                return  # gone, or somebody is in there: the next daemon's to sweep
            time.sleep(_MOMENT)
        else:
            return


def write(path: str, value: object) -> None:
    """Write a value into a file of a control group. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _made(directory: str) -> int:
    """Make a group and hold it; while it is held nobody sweeps it. Raises OSError."""
    for _ in range(_TRIES):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            pass  # left by one of the same name, whom our caller has ended
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # swept in this moment
        fcntl.flock(fd, fcntl.LOCK_SH)
        if os.path.isdir(directory) and os.stat(directory).st_ino == os.fstat(fd).st_ino:
            return fd
        os.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)


def first(path: str) -> int:
    """Return the number that a file begins with; 0 for none, -1 and "max"."""
    found = words(path)
    return int(found[0]) if found and found[0].isdigit() else 0


def number(path: str, name: str) -> int:
    """Return the number behind a name in a file of names and numbers; 0 where it is not."""
    for line in lines(path):
        word, _, rest = line.partition(" ")
        if word == name:
            return int(rest)
    return 0


def if_there(path: str, value: object) -> None:
    """Write what not every kernel has, or what a group above allows less of anyway."""
    try:
        write(path, value)
    except OSError:
        pass
