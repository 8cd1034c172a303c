"""The seam to where news goes. A reporter never delays or fails an experiment."""

from __future__ import annotations

from abc import ABC, abstractmethod

from runner.model import Report


class Reporter(ABC):
    """Tells somebody what happened."""

    #: Registry name.
    name: str

    @abstractmethod
    async def send(self, report: Report) -> None:
        """Pass on one piece of news. Must not raise; trouble is its own to log.

        What takes longer than a moment is queued here and done by ``run``.
        """

    async def run(self) -> None:  # noqa: B027 - most have nothing to do there
        """Deliver what ``send`` has queued, until cancelled; nothing where it queues nothing."""

    async def flush(self, seconds: float) -> None:  # noqa: B027 - likewise
        """Wait until all that was sent is delivered or dropped, at most so long."""
