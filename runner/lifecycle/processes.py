"""Finds and ends the processes of a run whose supervisor is gone."""

from __future__ import annotations

import time
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
        give_up = time.monotonic() + patience.total_seconds()
        while left := processes.kill(processes.Members(run_id=run_id, session=session)):
            if time.monotonic() > give_up:
                return left
            stop.check()
            time.sleep(_ROUND.total_seconds())
        return 0

    return await blocking.call(kill, limit=_LIMIT)
