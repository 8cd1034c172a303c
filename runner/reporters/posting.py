"""What reporters over the network have in common: a courier, and nothing told that is secret."""

from __future__ import annotations

import math
from abc import abstractmethod

from runner.model import Report
from runner.redaction import Redactor
from runner.reporters.base import Reporter
from runner.reporters.courier import Courier, Patience
from runner.reporters.masking import masked

#: Seconds that one call may take in all.
CALL = 15.0
#: No server makes us wait for longer.
_LONGEST_PAUSE = 3600.0


class PostingReporter(Reporter):
    """Queues what it is sent; ``run`` hands it to ``deliver``, one report after the other."""

    def __init__(self, redactor: Redactor, *, patience: Patience = Patience()) -> None:  # noqa: B008 - frozen
        self._redactor = redactor
        self._courier = Courier(self.name, self.deliver, patience=patience)

    async def send(self, report: Report) -> None:
        """Queue it, without its secrets."""
        if self.tells(report):
            self._courier.post(masked(report, self._redactor))

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._courier.run()

    async def flush(self, seconds: float) -> None:
        """Wait until the queue is empty."""
        await self._courier.flush(seconds)

    def tells(self, report: Report) -> bool:  # noqa: ARG002 - all of it, unless a reporter chooses
        """Tell whether this report is for this place at all."""
        return True

    @abstractmethod
    async def deliver(self, report: Report) -> None:
        """Tell one report. Raises Later, Hopeless."""


def wanted_pause(text: str | None) -> float | None:
    """Read a ``Retry-After`` in seconds; a date, and what is none, is left to our own pauses."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_PAUSE)
