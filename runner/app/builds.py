"""Keeps builds of environments to what the machine gives to experiments: memory and processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from runner import blocking, log
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

Tell = Callable[[str], None]


def held_builds(bounds: Bounds) -> Held:
    """Return what holds builds to these bounds: control groups, or else looks now and then."""

    @asynccontextmanager
    async def held(mark: str, tell: Tell) -> AsyncIterator[Sequence[str]]:
        groups = await blocking.call(lambda _: _made(mark, bounds), limit=_LIMIT)
        if groups is None:
            async with _looked_at(lambda: _measured(mark, bounds), tell):
                yield ()
            return
        try:
            async with _looked_at(lambda: _exceeded(groups, bounds), tell):
                yield groups.directories
            if said := _exceeded(groups, bounds):
                tell(said)
        finally:
            groups.remove()

    return held


def _made(mark: str, bounds: Bounds) -> Groups | None:
    if bounds.enforce != CGROUP:
        return None
    try:
        groups = groups_of(f"build-{mark}", homes())
        groups.make(bounds.memory, 0, bounds.pids)
    except OSError as error:  # under systemd our own group is nobody's to divide
        _log.info("a build is measured, it has no control group", trouble=str(error))
        return None
    return groups


def _exceeded(groups: Groups, bounds: Bounds) -> str:
    if groups.oom_kills():
        return _memory(bounds)
    return _pids(bounds) if groups.forks_refused() else ""


def _measured(mark: str, bounds: Bounds) -> str:
    pids = list(leftovers.marked(mark))
    if bounds.pids and len(pids) > bounds.pids:
        return _pids(bounds)
    return _memory(bounds) if bounds.memory and usage.exactly(pids) > bounds.memory else ""


@asynccontextmanager
async def _looked_at(look: Callable[[], str], tell: Tell) -> AsyncIterator[None]:
    """Look now and then; what cannot fork any more may wait for ever, and is not to."""
    error: Exception | None = None

    async def keep_looking() -> None:
        while not (said := await blocking.call(lambda _: look(), limit=_LIMIT)):  # noqa: ASYNC110 - other processes set no event here
            await anyio.sleep(_PAUSE)
        tell(said)

    async with anyio.create_task_group() as group:
        group.start_soon(keep_looking)
        try:
            yield
        except Exception as caught:  # noqa: BLE001 - carried past the group, see design 5.1
            error = caught
        group.cancel_scope.cancel()
    if error is not None:
        raise error


def _memory(bounds: Bounds) -> str:
    return f"the build of its environment used more than {format_size(bounds.memory)} of memory"


def _pids(bounds: Bounds) -> str:
    return f"the build of its environment used more than {bounds.pids} processes and threads"
