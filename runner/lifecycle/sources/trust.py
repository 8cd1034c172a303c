"""Whether a queue is ours to take from, judged by what its messages turn out to be."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

#: Messages in a row that are no StudioML requests, after which a queue is left alone.
FOREIGN_LIMIT = 3


class Trust:
    """Counts the strangers in a row of one queue; never more than the limit are taken.

    What was taken and is not judged yet may be a stranger too, so that it counts until then.
    """

    def __init__(
        self, *, is_named: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Trust a queue that the operator ``is_named`` for ever."""
        self._is_named = is_named
        self._clock = clock
        self._until = float("inf")
        self._foreign = 0
        self._unknown = 0
        self._judged = anyio.Event()

    async def allows_another(self) -> bool:
        """Wait until that is certain, and tell whether one more message may be taken."""
        while self._foreign < FOREIGN_LIMIT <= self._foreign + self._unknown and not self._is_named:
            await self._judged.wait()
        return self._is_named or (self._foreign < FOREIGN_LIMIT and not self.is_over)

    async def until_judged(self) -> None:
        """Wait until it is known of every message that was taken what it is."""
        while self._unknown:
            await self._judged.wait()

    @property
    def is_over(self) -> bool:
        """A stranger that was given back would be seen again from now on."""
        return not self._is_named and self._clock() >= self._until

    def doubt(self, seconds: float) -> None:
        """After a stranger: take others for so long, and none after that but for a request.

        Not one message of somebody else's is to be taken twice.
        """
        self._until = min(self._until, self._clock() + seconds)

    @property
    def strangers(self) -> int:
        """How many there were in a row."""
        return self._foreign

    def wait_for_one(self) -> None:
        """One message more was taken; ``judge`` follows."""
        self._unknown += 1

    def judge(self, *, is_foreign: bool | None) -> None:
        """Say what one of the taken messages was; ``None``: it went back unread."""
        self._unknown -= 1
        if is_foreign:
            self._foreign += 1
        elif is_foreign is not None:
            self._foreign, self._until = 0, float("inf")
        self._judged.set()
        self._judged = anyio.Event()
