"""Has the host fuse watched while the daemon serves."""

from __future__ import annotations

from anyio.abc import TaskGroup

from runner.lifecycle.chore import Chore
from runner.lifecycle.fuses.watch import FuseWatch
from runner.lifecycle.parts import Parts


def begin(background: TaskGroup, parts: Parts) -> None:
    """Watch until ``background`` is cancelled."""
    if not parts.fuse.limit:
        return
    from runner.lifecycle.fuses.trial import Trial  # noqa: PLC0415 - most daemons never make one

    watch = FuseWatch(parts, Trial(parts).probe)
    background.start_soon(Chore("watching the host fuse", watch.watch).keep)
