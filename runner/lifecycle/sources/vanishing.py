"""When a queue is believed to be deleted, which is how clients cancel what was sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner import log
from runner.errors import RunnerError
from runner.lifecycle.board import Board, Entry
from runner.lifecycle.sources.source import Source
from runner.lifecycle.sources.suspicion import Suspicion
from runner.model import Cause

_log = log.get_logger(__name__)

#: Between the first and the last definite no.
APART = timedelta(minutes=1)
#: The broker is asked so often in that time: what lies between two answers is no proof.
_QUESTIONS = 4


@dataclass(eq=False)
class Vanishing:
    """Asks after the queues of one source that experiments here came from, when there is cause."""

    source: Source
    board: Board
    #: The queues that the last discovery listed.
    listed: Callable[[], Iterable[str]]
    apart: timedelta = APART

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        return self.apart.total_seconds() / _QUESTIONS

    async def look(self) -> None:
        """Ask where a queue in use is not listed, or seems to be gone; stop what came from it."""
        for name in sorted(self._in_use()):
            suspicion = self.source.suspicion(name)
            if name in self.listed() and not suspicion.is_open:
                continue
            if await self._is_gone(name, suspicion):
                self._stop(name)

    async def _is_gone(self, name: str, suspicion: Suspicion) -> bool:
        broker = self.source.broker
        if broker is None:
            suspicion.trouble()
            return False
        try:
            is_there = await broker.exists(name)
        except RunnerError as error:
            _log.debug("nobody knows whether a queue exists", queue=name, trouble=str(error))
            suspicion.trouble()
            return False
        if is_there:
            suspicion.there()
            return False
        return suspicion.absent(anyio.current_time(), self.apart.total_seconds())

    def _in_use(self) -> set[str]:
        return {entry.record.message.queue for entry in self._entries()}

    def _entries(self) -> list[Entry]:
        account = self.source.account
        return [one for one in self.board if (one.record.broker, one.record.project) == account]

    def _stop(self, name: str) -> None:
        for entry in self._entries():
            if entry.record.message.queue == name and entry.stopper.cause is None:
                _log.warning("its queue was deleted", key=entry.record.key, queue=name)
                entry.stopper.stop(Cause.CANCELLED, f"its queue {name} was deleted")
