"""Finds and ends the processes of a run whose supervisor is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from runner import blocking
from runner.supervisor import processes

_LIMIT = blocking.Limit(2)
#: Between two looks: a killed process needs a moment to go, a fork bomb to be overtaken.
_ROUND = timedelta(milliseconds=20)


async def end(run_id: str, session: int = 0, patience: timedelta = timedelta(seconds=15)) -> int:
    """Kill every process marked with ``run_id`` and what belongs to it, until a look finds none.

    ``session`` is the session of the experiment's first process, 0 where it is not known. Returns
    how many were left when ``patience`` ended: they hang in the kernel, no signal reaches them.
    """

    def kill(stop: blocking.Stop) -> int:
        give_up, own = time.monotonic() + patience.total_seconds(), set[int]()
        while left := processes.kill(processes.Members(run_id=run_id, session=session)):
            own.update(process.pid for process in left if process.parent == os.getpid())
            if time.monotonic() > give_up:
                return len(left)
            stop.check()
            time.sleep(_ROUND.total_seconds())
        _reap(own)
        return 0

    return await blocking.call(kill, limit=_LIMIT)


def _reap(children: Iterable[int]) -> None:
    """A daemon that was executed anew in place has children that it does not know of."""
    for pid in children:
        if processes.look(pid) is None:
            with suppress(ChildProcessError):  # whoever knew it was faster
                os.waitpid(pid, os.WNOHANG)
