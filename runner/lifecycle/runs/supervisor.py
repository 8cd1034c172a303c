"""A run's supervisor as a process: started, recognised beyond doubt, signalled, waited for."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio

import runner.supervisor
from runner import own_files
from runner.own_files import Count
from runner.supervisor import processes, records

#: What is started, by ``-I -S``: nothing of the daemon's environment or directories is imported.
SCRIPT = Path(runner.supervisor.__file__).with_name("main.py")
#: How often we look where the kernel has no pidfd (before 5.3).
_POLL = timedelta(milliseconds=100)
#: Until the supervisor is ready for them.
BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: What an interpreter outside the usual places may need to start.
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")


def base_environment() -> dict[str, str]:
    """Return the variables that a supervisor inherits."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Its pid, and what tells it from the pid's next owner; field names are those of the record."""

    pid: Count
    #: Clock ticks since boot.
    started: Count
    boot: str
    pid_namespace: str
    #: The experiment's first process, which leads a session of its own; 0 while unknown.
    child: Count = 0
    child_started: Count = 0
    #: Directories of the run's control groups, which it removes unless it is killed.
    groups: str = ""

    @classmethod
    def spawn(cls, directory: Path, run_id: str) -> Supervisor:
        """Start the supervisor of the run in ``directory``. Raises OSError."""
        log = directory / os.fsdecode(records.LOG)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(SCRIPT), os.fspath(directory)],
            {**base_environment(), os.fsdecode(processes.MARK): run_id},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=BLOCKED,
        )
        return cls.seen(pid)

    @classmethod
    def seen(cls, pid: int) -> Supervisor:
        """Return the one that was just started."""
        found = processes.look(pid)
        started = found.started if found else 0
        return cls(pid, started, processes.boot_id(), processes.pid_namespace())

    @classmethod
    def recorded(cls, directory: Path) -> Supervisor | None:
        """Read who supervises the run in ``directory``; ``None`` before it has said so.

        Likewise where a power cut left something else, of which nobody is alive.
        """
        try:
            return own_files.read_as(directory / os.fsdecode(records.SUPERVISOR), cls)
        except (OSError, ValueError):
            return None

    def is_of_this_boot(self) -> bool:
        """Tell whether its numbers mean anything: same boot, same pid namespace."""
        here = (processes.boot_id(), processes.pid_namespace())
        return (self.boot, self.pid_namespace) == here

    def is_alive(self) -> bool:
        """Tell whether this very process runs."""
        found = processes.look(self.pid)
        return found is not None and found.started == self.started and self.is_of_this_boot()

    def session(self) -> int:
        """Return the experiment's session; 0 when its number is unknown or somebody else's."""
        owner = processes.look(self.child)
        recycled = owner is not None and owner.started != self.child_started
        return 0 if recycled or not self.is_of_this_boot() else self.child

    async def gone(self) -> None:
        """Wait until the process has ended, and reap it if it is our child."""
        if not self.is_of_this_boot():
            return
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except OSError:  # no pidfd on this kernel
            while self.is_alive():  # noqa: ASYNC110 - another process, it sets no event of ours
                await anyio.sleep(_POLL.total_seconds())
        else:
            try:
                if self.is_alive():
                    await anyio.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        self._reap()

    def tell(self, signum: int) -> None:
        """Signal the process, and certainly no other; one that is gone is no error."""
        if not self.is_alive():
            return
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except OSError:  # no pidfd on this kernel: a moment's risk
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)
            return
        try:
            # Looked at again: the pid may have changed hands before the descriptor was open.
            if self.is_alive():
                signal.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def _reap(self) -> None:
        found = processes.look(self.pid)
        if found is None:  # a zombie of ours, or nothing; anything else is the pid's next owner
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
