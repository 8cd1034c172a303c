"""How much waits in each queue, asked of the brokers at most as often as somebody has to know."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from runner.errors import RunnerError
from runner.queues.base import Queue

#: An account may have hundreds of queues, and a broker may not answer.
_AT_ONCE, _SECONDS = 16, 3.0


@dataclass(frozen=True, slots=True)
class Depth:
    """One queue that is taken from."""

    name: str
    broker: str
    #: ``None`` where the broker does not tell, or not quickly.
    waiting: int | None
    #: Whose queue it is: account, project or directory.
    account: str = ""


@dataclass(eq=False)
class Depths:
    """The queues of ``queues``; many may ask, one question at a time goes to the brokers."""

    queues: Callable[[], Mapping[str, Queue]]
    clock: Callable[[], float] = time.monotonic
    _known: tuple[Depth, ...] = ()
    _known_at: float = float("-inf")
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def look(self, age: timedelta = timedelta(0)) -> tuple[Depth, ...]:
        """Return what is known since ``age`` at most; takes seconds where brokers are slow."""
        wanted_at = self.clock() - age.total_seconds()
        async with self._asking:
            if self._known_at < wanted_at:
                self._known_at, self._known = self.clock(), await self._ask_all()
            return self._known

    async def _ask_all(self) -> tuple[Depth, ...]:
        queues = list(self.queues().values())
        waiting: list[int | None] = [None] * len(queues)
        at_once = anyio.CapacityLimiter(_AT_ONCE)

        async def ask(number: int, queue: Queue) -> None:
            async with at_once:
                with suppress(RunnerError):
                    waiting[number] = await queue.depth()

        with anyio.move_on_after(_SECONDS):
            async with anyio.create_task_group() as group:
                for number, queue in enumerate(queues):
                    group.start_soon(ask, number, queue)
        return tuple(
            Depth(queue.name, queue.broker, count, queue.project)
            for queue, count in zip(queues, waiting, strict=True)
        )
