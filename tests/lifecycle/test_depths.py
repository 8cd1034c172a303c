"""How much waits: brokers are asked once, however many want to know, and not too often."""

from __future__ import annotations

from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from runner.errors import QueueUnavailable
from runner.lifecycle.sources.depths import Depth, Depths
from runner.model import Message
from runner.queues.base import Delivery, Queue

pytestmark = pytest.mark.anyio


class Counted(Queue):
    """A queue that counts how often it was asked."""

    def __init__(self, name: str, *, trouble: bool = False) -> None:
        super().__init__(name, broker="local", project="p")
        self.asked = 0
        self._trouble = trouble

    async def receive(self) -> Delivery:
        """Never give anything."""
        raise NotImplementedError

    async def adopt(self, message: Message, token: str) -> Delivery:
        """Never hold anything."""
        raise NotImplementedError

    async def depth(self) -> int | None:
        """Count."""
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self._trouble:
            raise QueueUnavailable
        return 7


async def test_each_queue_is_asked_and_trouble_is_no_number() -> None:
    """What one broker cannot tell hides nothing of the others."""
    queues = {"a": Counted("a"), "b": Counted("b", trouble=True)}
    found = await Depths(lambda: queues).look()
    assert found == (Depth("a", "local", 7, "p"), Depth("b", "local", None, "p"))


async def test_what_is_fresh_enough_is_not_asked_again() -> None:
    """Brokers charge for questions."""
    now = 0.0
    queue = Counted("a")
    depths = Depths(lambda: {"a": queue}, lambda: now)
    await depths.look(timedelta(seconds=30))
    now = 29.0
    await depths.look(timedelta(seconds=30))
    assert queue.asked == 1
    now = 31.0
    await depths.look(timedelta(seconds=30))
    assert queue.asked == 2


async def test_many_at_once_ask_once() -> None:
    """Whoever comes while an answer is on its way shares it."""
    queue = Counted("a")
    depths = Depths(lambda: {"a": queue})
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(depths.look, timedelta(seconds=30))
    assert queue.asked == 1
