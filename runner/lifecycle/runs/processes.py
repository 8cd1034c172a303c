"""Finds and ends the processes of a run whose supervisor is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from runner import blocking
from runner.supervisor import processes

_LIMIT = blocking.Limit(2)
#: Between two looks: a killed process needs a moment to go, a fork bomb to be overtaken.
_ROUND = timedelta(milliseconds=20)


class Left(NamedTuple):
    """A process that no signal ends: it hangs in the kernel."""

    pid: int
    #: Clock ticks since boot; tells it from the pid's next owner.
    started: int


async def end(
    run_id: str,
    session: int = 0,
    patience: timedelta = timedelta(seconds=15),
    *,
    known: Sequence[Left] = (),
) -> list[Left]:
    """Kill every process marked with ``run_id`` and what belongs to it, until a look finds none.

    ``session`` is the session of the experiment's first process, 0 where it is not known;
    ``known`` are processes that belong to it, whatever they look like. Returns who was left when
    ``patience`` ended.
    """

    def kill(stop: blocking.Stop) -> list[Left]:
        give_up, own = time.monotonic() + patience.total_seconds(), set[int]()
        while left := _strike(run_id, session, known):
            own.update(process.pid for process in left if process.parent == os.getpid())
            if time.monotonic() > give_up:
                return [Left(process.pid, process.started) for process in left]
            stop.check()
            time.sleep(_ROUND.total_seconds())
        _reap(own)
        return []

    return await blocking.call(kill, limit=_LIMIT)


def system() -> str:
    """Return what identifies this boot and pid namespace: elsewhere no process of here is left."""
    return f"{processes.boot_id()} {processes.pid_namespace()}"


def shown(left: Iterable[Left]) -> str:
    """Write who was left in one line."""
    return " ".join(f"{one.pid}@{one.started}" for one in left)


def read(line: str) -> list[Left]:
    """Return what ``shown`` wrote, and the supervisor. Raises ValueError."""
    pairs = (word.partition("@") for word in line.split())
    return [Left(int(pid), int(started)) for pid, _, started in pairs]


def _strike(run_id: str, session: int, known: Iterable[Left]) -> list[processes.Process]:
    """Kill whoever is there, once; return who that was."""
    found = processes.kill(processes.Members(run_id=run_id, session=session))
    pids = {process.pid for process in found}
    looked = ((one, processes.look(one.pid)) for one in known if one.pid not in pids)
    still = [now for one, now in looked if now is not None and now.started == one.started]
    processes.tell(still, signal.SIGKILL)
    return [*found, *still]


def _reap(children: Iterable[int]) -> None:
    """A daemon that was executed anew in place has children that it does not know of."""
    for pid in children:
        if processes.look(pid) is None:
            with suppress(ChildProcessError):  # whoever knew it was faster
                os.waitpid(pid, os.WNOHANG)
