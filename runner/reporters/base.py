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
        """Pass on one piece of news. Must not raise; trouble is its own to log."""
