"""TERM and INT: the first drains, the second stops; before there is anything to drain, both end.

HUP reloads. USR1 detaches, which is how systemd stops the unit, and so does the HUP of a terminal
that has gone.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from runner import log
from runner.app.leaving import Leaving
from runner.app.reexec import SIGNALS, Reexec, heed_again
from runner.lifecycle.loop import Loop

_log = log.get_logger(__name__)


def _has_terminal() -> bool:
    """Tell whether we have a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@dataclass
class Signals:
    """Heeded from the first moment on, so that no start-up is killed half way."""

    #: Cancelled by a signal that comes before the loop: whatever runs is left to the next daemon.
    starting: anyio.CancelScope
    reexec: Reexec
    _loop: Loop | None = None
    _leaving: Leaving | None = None
    _is_to_reload: bool = False
    _is_to_drain: bool = False
    _late: list[signal.Signals] = field(default_factory=list)
    _had_terminal: bool = field(default_factory=_has_terminal)

    def serve(self, loop: Loop, leaving: Leaving) -> None:
        """From now on there is something to drain and to leave."""
        self._loop, self._leaving = loop, leaving
        self.reexec.late = lambda: self._late
        if self._is_to_drain:
            loop.drain()
        elif self._is_to_reload:
            loop.parts.background(leaving.heed_reload)

    async def heed(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Act on signals until cancelled."""
        with anyio.open_signal_receiver(*SIGNALS) as received:
            heed_again()
            async with anyio.create_task_group() as group:
                task_status.started()
                async for number in received:
                    self._act(number, group)

    def _act(self, number: signal.Signals, group: TaskGroup) -> None:
        if self.reexec.is_wanted:
            self._late.append(number)  # for the next daemon
        elif number == signal.SIGUSR1:
            self._detach()
        elif number == signal.SIGHUP:
            self._hang_up(group)
        else:
            self._end(number)

    def _hang_up(self, group: TaskGroup) -> None:
        if self._had_terminal and not _has_terminal():
            _log.warning("the terminal has gone")
            self._detach()
        elif self._leaving is None:
            self._is_to_reload = True  # what was changed may have been read before
        else:
            group.start_soon(self._leaving.heed_reload)

    def _detach(self) -> None:
        _log.info("leaving what runs to the next daemon")
        if self._leaving is None:
            self.starting.cancel()
        else:
            self._leaving.detach()

    def _end(self, number: signal.Signals) -> None:
        loop = self._loop
        if loop is None and self.reexec.has_happened and not self._is_to_drain:
            _log.info("draining as soon as what runs is adopted", signal=number.name)
            self._is_to_drain = True
            return
        if loop is None:
            _log.info("ending before anything was begun", signal=number.name)
            self.starting.cancel()
            return
        keys = [entry.record.key for entry in loop.parts.board]
        if loop.is_draining:
            _log.info("stopping", signal=number.name, gives_back=keys)
        else:
            grace = f"{loop.ends.grace.total_seconds():.0f} s"
            more = {"waits_for": keys, "at_most": grace, "once_more": "stops them"} if keys else {}
            _log.info("draining", signal=number.name, **more)
        loop.drain()
