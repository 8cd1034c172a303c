"""TERM and INT: the first drains, the second stops; before there is anything to drain, both end."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import anyio
from anyio.abc import TaskStatus

from runner import log
from runner.lifecycle.loop import Loop

_log = log.get_logger(__name__)


@dataclass
class Signals:
    """Heeded from the first moment on, so that no start-up is killed half way."""

    #: Cancelled by a signal that comes before the loop: whatever runs is left to the next daemon.
    starting: anyio.CancelScope
    loop: Loop | None = None

    async def heed(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Act on signals until cancelled."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for number in received:
                self._act(number)

    def _act(self, number: signal.Signals) -> None:
        if self.loop is None:
            _log.info("ending before anything was begun", signal=number.name)
            self.starting.cancel()
            return
        _log.info("stopping" if self.loop.is_draining else "draining", signal=number.name)
        self.loop.drain()
