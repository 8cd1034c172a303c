"""What the daemon does beside experiments: a defect in it ends neither the daemon nor a run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from runner import log
from runner.errors import RunnerError

_log = log.get_logger(__name__)

#: Seconds before it is tried again; twice as long each time, up to the longest.
PAUSE, LONGEST_PAUSE = 1.0, 300.0
#: Seconds that it has to go well until what went wrong before is forgotten.
STEADY = 60.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that the daemon can do without for a while; a defect is told with its traceback.

    Leases, settling and claiming are none: who cannot be sure of these has to end, and to be
    started again (docs/reliability.md).
    """

    #: What is being done, for the log.
    name: str
    work: Callable[[], Awaitable[None]]
    #: Of the experiment that it is done for, if for one.
    key: str = ""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def once(self) -> None:
        """Do it; whatever goes wrong is said, and over."""
        try:
            await self.work()
        except Exception as error:  # noqa: BLE001 - nobody waits for it, nobody may fail of it
            self._say(error)

    async def keep(self) -> None:
        """Do it until it returns, or until cancelled; where it fails, again after a pause."""
        pause, said = PAUSE, ""
        while True:
            began = self.clock()
            try:
                return await self.work()
            except Exception as error:  # noqa: BLE001 - as above
                if self.clock() - began >= STEADY:
                    pause, said = PAUSE, ""
                said = self._say(error, before=said, again=pause)
            await self.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _say(self, error: Exception, *, before: str = "", **facts: float) -> str:
        """Tell it unless the same was told ``before``; return what it was."""
        trouble = f"{type(error).__name__}: {error}"
        if trouble == before:
            return trouble
        about = {"doing": self.name, **({"key": self.key} if self.key else {}), **facts}
        if isinstance(error, RunnerError):
            _log.warning("trouble beside the experiments", trouble=str(error), **about)
        else:
            _log.error("a defect of the runner beside the experiments", exc_info=error, **about)
        return trouble
