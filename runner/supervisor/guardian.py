"""Stands between the supervisor and a builder of walls that does not die with its parent.

Apptainer changes its credentials on its way, and with that the kernel forgets whose death it was to
die of. So its parent is a process of ours that sees the supervisor's end, as that of a line, and
ends what is below it.
"""

from __future__ import annotations

import os
import select
import time

from runner.supervisor import processes, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Never

#: Milliseconds between two looks, where no event tells of a process's end.
_LOOK = 50
_PAUSE = 0.02


def stand_between(line: int) -> None:
    """Return in a child; what called this waits for its end, or ends it with its descendants.

    ``line`` ends with the supervisor; the child shall not keep it. Raises OSError.
    """
    syscalls.become_subreaper()
    pid = os.fork()
    if pid:
        _guard(line, pid)


def _guard(line: int, pid: int) -> Never:
    try:
        _let_go(line)
        poll = select.poll()
        poll.register(line, select.POLLIN)
        ended = _end_of(pid)
        if ended >= 0:
            poll.register(ended, select.POLLIN)
        while processes.reap():
            ready = {descriptor for descriptor, _ in poll.poll(None if ended >= 0 else _LOOK)}
            if line in ready:
                _end_all()
            if ended in ready:
                poll.unregister(ended)
                ended = -1
    finally:
        os._exit(0)


def _let_go(line: int) -> None:
    """Close all but the line: others wait for the ends of our pipes."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) != line:
            try:
                os.close(int(name))
            except OSError:
                pass  # the descriptor of the listing itself


def _end_of(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1  # no pidfd on this kernel, or it has ended


def _end_all() -> None:
    members = processes.Members(root=os.getpid())
    while processes.reap():
        processes.kill(members)
        time.sleep(_PAUSE)
