"""Which processes belong to a run, read from ``/proc``, and the way to end them all."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Container
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: The variable that every process of a run inherits; its value is the run's id.
MARK = b"STUDIO_RUNNER_RUN"
#: Begins the name of each control group of a run, systemd's scopes included; the id follows.
PREFIX = "studio-runner-run-"

# Fields of /proc/PID/stat after the command's name.
_GROUP, _SESSION, _FLAGS, _STARTED = 2, 3, 6, 19
#: Of the kernel's own threads, which belong to nobody (PF_KTHREAD in its sched.h).
_IS_KERNEL = 0x00200000
_PIECE = 1 << 13


class Process:
    """A process that was alive when looked at; ``started`` tells it from its pid's next owner."""

    __slots__ = ("group", "is_kernel", "parent", "pid", "session", "started")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.parent = int(fields[1])
        self.group = int(fields[_GROUP])
        self.session = int(fields[_SESSION])
        self.is_kernel = bool(int(fields[_FLAGS]) & _IS_KERNEL)
        #: Clock ticks since boot.
        self.started = int(fields[_STARTED])


def look(pid: int) -> Process | None:
    """Return the process; ``None`` for one that is gone or only waits to be reaped."""
    data = _proc_file(pid, "stat")
    fields = data[data.rfind(b")") + 2 :].split()
    if len(fields) <= _STARTED or fields[0] in {b"Z", b"X"}:
        return None
    return Process(pid, fields)


def everyone(besides: Container[int] = ()) -> list[Process]:
    """Return all living processes of this pid namespace but ourselves and those ``besides``.

    Left out are the kernel's own, which on many machines are most.
    """
    own = os.getpid()
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    new = (pid for pid in pids if pid != own and pid not in besides)
    return [found for pid in new if (found := look(pid)) is not None and not found.is_kernel]


def boot_id() -> str:
    """Return what identifies this boot of the kernel."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().decode().strip()


def pid_namespace() -> str:
    """Return what identifies the pid namespace: in another one our pids mean nothing.

    The kernel gives the number of one that has ended to the next, so that a container started anew
    may have it again; but its first process is another.
    """
    first = look(1)
    since = f" since {first.started}" if first else ""  # hidden, where /proc is mounted so
    return os.readlink("/proc/self/ns/pid") + since


class Members:
    """What makes a process one of a run, and those that were found so far.

    With the supervisor alive: it descends from ``root``, for every orphan becomes our child.
    Without: it carries the run's mark, or is in its control groups, or sits in the session of one
    that does, or in ``session``, that of the experiment's first process; or it was started by one
    of these. Our own session is never taken as a whole.
    """

    def __init__(self, *, root: int = 0, run_id: str = "", session: int = 0) -> None:
        self._mark = MARK + b"=" + os.fsencode(run_id) if run_id else b""
        self._group = b"/" + os.fsencode(PREFIX + run_id) + b"/"
        self._parents = {root} - {0}
        self._excluded = {0, os.getsid(0)}
        self._sessions = {session} - self._excluded
        self._seen: set[int] = set()

    def new(self) -> list[Process]:
        """Return the members not returned before. Looks only at processes it has not yet seen."""
        rest = everyone(self._seen)
        self._seen.update(p.pid for p in rest)
        found = list[Process]()
        joined = [p for p in rest if self._mark and self._is_marked(p)] or self._joining(rest)
        while joined:
            self._learn(joined)
            found += joined
            rest = [p for p in rest if p.pid not in self._parents]
            joined = self._joining(rest)
        return found

    def _joining(self, rest: list[Process]) -> list[Process]:
        return [p for p in rest if p.parent in self._parents or p.session in self._sessions]

    def _is_marked(self, process: Process) -> bool:
        if self._mark in _proc_file(process.pid, "environ").split(b"\0"):
            return True
        # Its variables it may have shed, and its session left: not its control groups.
        groups = _proc_file(process.pid, "cgroup").replace(b"\n", b"/").replace(b".scope/", b"/")
        return self._group in groups

    def _learn(self, joined: list[Process]) -> None:
        self._parents.update(p.pid for p in joined)
        self._sessions.update(p.session for p in joined if p.session not in self._excluded)


def reap() -> bool:
    """Collect our dead; tell whether a child is left: of a subreaper every orphan becomes one."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def descendants(root: int) -> list[Process]:
    """Return all living processes below ``root``."""
    return Members(root=root).new()


def of_run(run_id: str, session: int = 0) -> list[Process]:
    """Find a run's processes without its supervisor, but for ourselves."""
    return Members(run_id=run_id, session=session).new()


def tell(processes: list[Process], signum: int) -> None:
    """Send a signal to each process; those that have gone meanwhile are no error."""
    for process in processes:
        _quietly(os.kill, process.pid, signum)


def kill(members: Members) -> list[Process]:
    """Stop, then kill all members; return who they were.

    Stopped first, until a look finds nobody new: what is stopped cannot fork or restart others. A
    whole group is signalled in one system call, within which none of its members can fork. Whoever
    escaped between look and signal is found by the next call: repeat until it returns nobody.
    """
    caught = list[Process]()
    while new := members.new():
        caught += new
        _strike(new, signal.SIGSTOP)
    _strike(caught, signal.SIGKILL)
    return caught


def _strike(processes: list[Process], signum: int) -> None:
    own = os.getpgrp()
    for group in {p.group for p in processes} - {0, 1, own}:
        _quietly(os.killpg, group, signum)
    tell(processes, signum)


def _quietly(send: Callable[[int, int], None], target: int, signum: int) -> None:
    try:
        send(target, signum)
    except (ProcessLookupError, PermissionError):
        pass  # gone, or never ours to end: a setuid program of another user


def _proc_file(pid: int, name: str) -> bytes:
    # A search reads hundreds of these: by four system calls each, not by a file object's eight.
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""  # gone, or not ours to look into
    text = b""
    try:
        while piece := os.read(descriptor, _PIECE):
            text += piece
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return text
