"""Keeps builds of environments to what the machine gives to experiments: memory and processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio

from runner import blocking, log
from runner.alongside import alongside
from runner.environments import leftovers
from runner.environments.bounded import Held
from runner.request.units import format_size
from runner.sandboxes.base import Bounds
from runner.supervisor import usage
from runner.supervisor.bounds import CGROUP
from runner.supervisor.grouping import groups_of
from runner.supervisor.groups import Groups
from runner.supervisor.hierarchies import homes

_log = log.get_logger(__name__)
_LIMIT = blocking.Limit(2)
#: Seconds between two looks.
_PAUSE = 0.5
#: Looks for who is left, and seconds between two: the killed need a moment to go.
_ROUNDS, _ROUND = 500, 0.02

Tell = Callable[[str], None]


def held_builds(bounds: Bounds) -> Held:
    """Return what holds builds to these bounds: control groups, or else looks now and then."""

    @asynccontextmanager
    async def held(mark: str, tell: Tell) -> AsyncIterator[Sequence[str]]:
        made: list[Groups] = []
        try:
            await blocking.call(lambda _: _make(made, mark, bounds), limit=_LIMIT)

            def look() -> str:
                return _exceeded(made[0], bounds) if made else _measured(mark, bounds)

            async with _looked_at(look, tell):
                yield made[0].directories if made else ()
            if made and (said := look()):
                tell(said)
        finally:
            with anyio.CancelScope(shield=True):
                await blocking.call(lambda _: _unmake(made), limit=_LIMIT)

    return held


def _make(made: list[Groups], mark: str, bounds: Bounds) -> None:
    """Put the groups into ``made``, where whoever is cancelled meanwhile finds them."""
    if bounds.enforce != CGROUP:
        return
    try:
        made.append(groups_of(f"build-{mark}", homes()))
        made[0].make(bounds.memory, 0, bounds.pids)
    except OSError as error:  # under systemd our own group is nobody's to divide
        made.clear()
        _log.info("a build is measured, it has no control group", trouble=str(error))


def _unmake(made: Sequence[Groups]) -> None:
    """End who is in there yet, though it has shed all marks of the build, and remove them."""
    for groups in made:
        for _ in range(_ROUNDS):
            if not (pids := groups.members()):
                break
            groups.strike()
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_ROUND)
        groups.remove()


def _exceeded(groups: Groups, bounds: Bounds) -> str:
    if groups.oom_kills():
        return _memory(bounds)
    return _pids(bounds) if groups.forks_refused() else ""


def _measured(mark: str, bounds: Bounds) -> str:
    pids = list(leftovers.marked(mark))
    if bounds.pids and len(pids) > bounds.pids:
        return _pids(bounds)
    return _memory(bounds) if bounds.memory and usage.exactly(pids) > bounds.memory else ""


def _looked_at(look: Callable[[], str], tell: Tell) -> AbstractAsyncContextManager[None]:
    """Look now and then; what cannot fork any more may wait for ever, and is not to."""

    async def keep_looking(_: anyio.CancelScope) -> None:
        while not (said := await blocking.call(lambda _: look(), limit=_LIMIT)):  # noqa: ASYNC110 - other processes set no event here
            await anyio.sleep(_PAUSE)
        tell(said)

    return alongside(keep_looking)


def _memory(bounds: Bounds) -> str:
    return f"the build of its environment used more than {format_size(bounds.memory)} of memory"


def _pids(bounds: Bounds) -> str:
    return f"the build of its environment used more than {bounds.pids} processes and threads"
