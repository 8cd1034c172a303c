"""The seam to metadata services, which know before we do that this machine will be taken away.

Promises held by ``tests/contracts/notices.py`` for every backend:

* What is announced is told within seconds of its being so, also what was so before we looked.
* Asking costs a machine that nobody takes away next to nothing, and leaves nothing open.
* A service that is not there is known as such within seconds, and without a word in the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Notice:
    """This machine will be taken away."""

    #: For people: who announces what.
    said: str
    #: From now on until then.
    left: timedelta


Tell = Callable[[Notice | None], Awaitable[None]]
"""Is told what is announced now; ``None``: nothing is."""


class Service(ABC):
    """One cloud's metadata service."""

    #: Registry name.
    name: str

    def __init__(self, environ: Mapping[str, str], *, has_gpus: bool = False) -> None:
        """``environ`` may name the service's address, as the cloud's own tools understand it."""
        self.environ = environ
        self.has_gpus = has_gpus

    @abstractmethod
    async def is_there(self) -> bool:
        """Ask once, for a few seconds at most. Raises nothing."""

    @abstractmethod
    async def watch(self, tell: Tell) -> None:
        """Tell what is announced, at once and after every change, until cancelled.

        Raises Unavailable when the service does not answer; watched anew, it goes on.
        """
