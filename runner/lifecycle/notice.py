"""Heeds what a metadata service announces: nothing is claimed, and all is given back in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from runner import log
from runner.errors import Unavailable
from runner.lifecycle.chore import Chore
from runner.lifecycle.claiming.suspension import UNKNOWN, Intent
from runner.lifecycle.parts import Parts
from runner.lifecycle.rush import Haste, waits
from runner.model import News, Report
from runner.notices.base import Notice, Service

_log = log.get_logger(__name__)

#: Whose wish it is that nothing is claimed.
WHO = "the machine's end"
_TOPIC = "machine"
#: Claiming waits so long for the first word of the service.
_FIRST_WORD = 3.0
_PAUSE, _LONGEST_PAUSE = 5.0, 300.0


class Ending(Protocol):
    """What this needs of ``loop.Loop``."""

    @property
    def parts(self) -> Parts:
        """The daemon's."""

    @property
    def busy(self) -> int:
        """How much is under way."""

    def hasten(self, haste: Haste) -> None:
        """Stop everything, and leave what is not stored in time."""


@dataclass(eq=False)
class Heeding:
    """Between a metadata service and the daemon."""

    ending: Ending
    service: Service
    #: The operator named the service: one that does not answer is worth a warning.
    is_named: bool = False
    pause: float = _PAUSE
    #: Nobody has said anything yet; and nobody since the last trouble.
    _is_first: bool = True
    _is_silent: bool = True
    _told: Notice | None = None

    async def heed(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled, or until it is known that nobody is there to be asked.

        Nothing is claimed before the first word: it would only be given back.
        """
        suspension = self.ending.parts.intake.suspension
        suspension.wish(UNKNOWN, Intent.SUSPEND)
        task_status.started()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._wait_no_longer)
                await self._watch(group)
                group.cancel_scope.cancel()
        finally:
            suspension.wish(UNKNOWN, Intent.RUNNING)

    async def _wait_no_longer(self) -> None:
        await anyio.sleep(_FIRST_WORD)
        self.ending.parts.intake.suspension.wish(UNKNOWN, Intent.RUNNING)

    async def _watch(self, group: TaskGroup) -> None:
        """Listen; an end that was announced goes on, whatever befalls the listening."""
        await Chore("hearing of this machine's end", partial(self._listen, group)).keep()

    async def _listen(self, group: TaskGroup) -> None:
        if self._is_first and not self.is_named and not await self.service.is_there():
            _log.info("no metadata service answers: nobody announces this machine's end")
            return

        async def tell(notice: Notice | None) -> None:
            await self._tell(notice, group)

        pause, said = self.pause, ""
        while True:
            try:
                await self.service.watch(tell)
            except Unavailable as trouble:
                if not self._is_silent:  # it was heard in between: this is another trouble
                    pause, said, self._is_silent = self.pause, "", True
                if str(trouble) != said:
                    _log.warning("notices of this machine's end are not heard", why=str(trouble))
                said = str(trouble)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _tell(self, notice: Notice | None, group: TaskGroup) -> None:
        parts, is_first = self.ending.parts, self._is_first
        self._is_first = self._is_silent = False
        if notice is None:
            if self._told is not None:
                await self._take_back()
        elif self._told is None or notice.said != self._told.said:
            self._told = notice
            parts.intake.suspension.wish(WHO, Intent.TERMINATE)
            # A daemon that is started again in the last minutes, and has nothing, only waits.
            if not is_first or self.ending.busy:
                group.start_soon(self._end, notice)
            await self._say(News.MACHINE_ENDING, _sentence(notice))
        parts.intake.suspension.wish(UNKNOWN, Intent.RUNNING)

    async def _take_back(self) -> None:
        self._told = None
        self.ending.parts.intake.suspension.wish(WHO, Intent.RUNNING)
        await self._say(News.RECOVERED, "this machine's end is announced no more")

    async def _end(self, notice: Notice) -> None:
        """Let runs end as long as there is time for that; stop them then."""
        waiting = waits(notice.left)
        await anyio.sleep(waiting.total_seconds())
        if self._told is notice:
            self.ending.hasten(Haste(notice.said, notice.left - waiting))

    async def _say(self, news: News, text: str) -> None:
        await self.ending.parts.report(Report(news, text, topic=_TOPIC))


def _sentence(notice: Notice) -> str:
    seconds = notice.left.total_seconds()
    until = "what runs may end until then" if waits(notice.left) else "what runs is given back"
    return f"{notice.said} in {seconds:.0f} s: nothing is claimed any more, {until}"
