"""What the supervisor records about itself and about how the run went: times, memory, OOM kills."""

from __future__ import annotations

import os
import resource
import time

from runner.supervisor import processes, records

_OOM_FILES = ("memory.events", "memory.oom_control")


def record_supervisor(directory: bytes, child: int, groups: list[str]) -> None:
    """Write who we are, so that nobody ever signals our pid's next owner. Raises OSError.

    ``groups`` are to be removed by who cleans up behind us.
    """
    own = processes.look(os.getpid())
    first = processes.look(child)
    fields: dict[str, records.Value] = {
        "pid": os.getpid(),
        "started": own.started if own else 0,
        "boot": processes.boot_id(),
        "pid_namespace": processes.pid_namespace(),
        "child": child,
        "child_started": first.started if first else 0,
        "groups": os.pathsep.join(groups),
    }
    records.write(directory, records.SUPERVISOR, records.flat_json(fields))


class Before:
    """What was the case when the run began."""

    def __init__(self, own_scope: str) -> None:
        self.wall = time.time()
        self.monotonic = time.monotonic()
        self.oom_scope, self.oom_path = _oom_counter(own_scope)
        self.oom_kills = _oom_kills(self.oom_path)


def begin(own_scope: str = "") -> Before:
    """Remember the beginning; ``own_scope`` is the cgroup that nobody else is in, if there is."""
    return Before(own_scope)


def end(before: Before) -> dict[str, records.Value]:
    """Return what can be said when all processes were reaped."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "started_at": before.wall,
        "ended_at": time.time(),
        "duration": time.monotonic() - before.monotonic,
        "peak_memory": largest(),
        "cpu_time": usage.ru_utime + usage.ru_stime,
        "oom_kills": _oom_kills(before.oom_path) - before.oom_kills,
        "oom_scope": before.oom_scope,
    }


def largest() -> int:
    """Return the most memory that one of the processes had, in bytes, of those that were reaped."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def _oom_counter(own_scope: str) -> tuple[str, str]:
    """Return where OOM kills are counted: of the cgroup we are in if it tells, else of all."""
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.decode().split(":", 2)
        if controllers in {"", "memory"}:
            mount = "/sys/fs/cgroup" + ("/memory" if controllers else "")
            for name in _OOM_FILES:
                file = f"{mount}{path.rstrip('/')}/{name}"
                if path != "/" and any(line.startswith(b"oom_kill ") for line in _lines(file)):
                    is_own = bool(own_scope) and path.endswith(f"/{own_scope}")
                    return "cgroup" if is_own else "shared", file
    return "machine", "/proc/vmstat"


def _oom_kills(path: str) -> int:
    counts = [int(line.split()[1]) for line in _lines(path) if line.startswith(b"oom_kill ")]
    return counts[0] if counts else 0


def _lines(path: str) -> list[bytes]:
    try:
        with open(path, "rb", 0) as file:
            return file.read().splitlines()
    except OSError:
        return []
