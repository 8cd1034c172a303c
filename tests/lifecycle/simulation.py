"""A day of a runner in a moment: the real intake, queues in memory, and a clock that jumps.

The event loop's time goes forward whenever everybody waits. So the policy, the reservation and the
open receives are the product's own, and only the brokers and the experiments are played.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import anyio

from runner.lifecycle.claiming.intake import LEAST, Intake, Slot
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.seats import NEVER
from runner.model import Allocation, Bytes, Capacity, Message, Needs
from runner.queues.base import Delivery, Queue
from runner.resources.ledger import Ledger

MINUTE, HOUR = 60.0, 3600.0
_WAITS_WITH_MESSAGE = 600.0
_NO_ROOM_DELAY = 30.0


class _Jump(selectors.BaseSelector):
    """Never waits: it moves the clock to where the loop wanted to be woken."""

    def __init__(self) -> None:
        self.now = 0.0
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, or go on in time."""
        ready = self._real.select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits for ever")
        if not ready and timeout is not None:
            self.now += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch the loop's own pipe."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Stop that."""
        return self._real.unregister(fileobj)

    def get_map(self) -> Any:
        """Tell what is watched."""
        return self._real.get_map()

    def close(self) -> None:
        """Close."""
        self._real.close()


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jump = _Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        """Return the time of the simulation, in seconds."""
        return self.jump.now


def simulated(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the story in a time of its own, which begins at 0."""
    anyio.run(story, backend_options={"loop_factory": _JumpingLoop})


@dataclass(frozen=True)
class Work:
    """One experiment."""

    seconds: float
    needs: Needs = LEAST
    sent_at: float = 0.0
    receives: int = 1


@dataclass(frozen=True)
class Ran:
    """One that ran."""

    queue: str
    work: Work
    begun: float
    ended: float


class Paper(Queue):
    """A queue of which the broker tells nothing: one has to look, and looking takes a moment."""

    #: Seconds from the question to a message that is there.
    round_trip = 0.02

    def __init__(self, name: str, project: str = "p", *, tells: bool = False) -> None:
        super().__init__(name, broker="paper", project=project)
        self.tells = tells
        self.waiting: deque[Work] = deque()
        self.looks = 0
        self.open = 0
        self._news = anyio.Event()

    def send(self, *works: Work) -> None:
        """Add experiments."""
        self.waiting.extend(works)
        self._news.set()
        self._news = anyio.Event()

    async def ready(self) -> None:
        """Wait for a message where it tells."""
        while self.tells and not self.waiting:
            await self._news.wait()

    async def work(self) -> Work | None:
        """Look for a message as a long poll does."""
        self.looks += 1
        self.open += 1
        try:
            await anyio.sleep(self.round_trip)
            with anyio.move_on_after(self.patience):
                while not self.waiting:
                    await self._news.wait()
            return self.waiting.popleft() if self.waiting else None
        finally:
            self.open -= 1

    async def receive(self) -> Delivery:
        """Not asked for: the simulation plays the puller, too."""
        raise NotImplementedError

    async def adopt(self, message: Message, token: str) -> Delivery:
        """Not asked for."""
        raise NotImplementedError


@dataclass(eq=False)
class Runner:
    """A machine and its pullers."""

    cores: int = 1
    rules: Rules = field(default_factory=Rules)
    #: What the clock on the wall shows at the beginning, in seconds since the epoch.
    wall: float = 0.0
    ran: list[Ran] = field(default_factory=list)
    running: int = 0
    #: The most that ran at once.
    peak: int = 0
    #: Times that a message was given back because there was no room.
    returned: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._one_ended = anyio.Event()
        total = Capacity(self.cores, Bytes(1 << 40), Bytes(1 << 40))
        self.ledger = Ledger(total, lambda needs, gpus: gpus[: needs.gpu_count])
        self.intake = Intake(
            self.ledger,
            rules=self.rules,
            clock=anyio.current_time,
            wall=lambda: self.wall + anyio.current_time(),
        )

    async def serve(self, *queues: Paper, seconds: float, runs: int = 0) -> None:
        """Work for so long, or until so many have run."""
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(self.intake.keep_looking)
                for queue in queues:
                    group.start_soon(self._pull, queue, group)
                while not runs or len(self.ran) < runs:
                    await self._one_ended.wait()
                group.cancel_scope.cancel()

    async def _pull(self, queue: Paper, group: anyio.abc.TaskGroup) -> None:
        seat = self.intake.seat(queue)
        hint: tuple[Needs, float] = (LEAST, NEVER)
        pause = 30.0

        def too_big(needs: Needs | None) -> None:
            nonlocal hint, pause
            hint = (LEAST, NEVER) if needs is None else (needs, anyio.current_time() + pause)
            pause = 30.0 if needs is None else min(2 * pause, 300.0)

        while True:
            await queue.ready()
            turn = await self.intake.turn(seat, *hint)
            try:
                work = await queue.work()
            except BaseException:
                self.intake.failed(turn)
                raise
            if work is None:
                self.intake.nothing(turn)
            else:
                group.start_soon(self._handle, queue, work, self.intake.found(turn), too_big)

    async def _handle(
        self, queue: Paper, work: Work, slot: Slot, too_big: Callable[[Needs | None], None]
    ) -> None:
        allocation = slot.grow(work.needs)
        if allocation is None:
            with anyio.move_on_after(_WAITS_WITH_MESSAGE):
                allocation = await slot.reserved(work.needs)
        if allocation is None:
            too_big(work.needs)
            self.returned[queue.name] += 1
            await anyio.sleep(_NO_ROOM_DELAY)
            queue.send(Work(work.seconds, work.needs, work.sent_at, work.receives + 1))
            return
        too_big(None)
        await self._run(queue, work, allocation)

    async def _run(self, queue: Paper, work: Work, allocation: Allocation) -> None:
        begun = anyio.current_time()
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await anyio.sleep(work.seconds)
        finally:
            self.ran.append(Ran(queue.name, work, begun, anyio.current_time()))
        self._one_ended.set()
        self._one_ended = anyio.Event()
        self.running -= 1
        self.intake.release(allocation)

    def hours(self, queue: str, until: float = float("inf")) -> float:
        """Return the hours that a queue's experiments ran, up to a moment."""
        times = (min(r.ended, until) - min(r.begun, until) for r in self.ran if r.queue == queue)
        return sum(times) / HOUR

    def waits(self, queue: str) -> list[float]:
        """Return the seconds from sending to beginning."""
        return [ran.begun - ran.work.sent_at for ran in self.ran if ran.queue == queue]
