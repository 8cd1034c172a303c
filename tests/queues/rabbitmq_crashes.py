"""A runner that takes one message of RabbitMQ and kills itself at a point that it is told.

Run as a program: URL QUEUE VERB POINT DIRECTORY. A point is ``before`` or ``after`` the n-th call
of a channel's method, counted from the moment the message was caught: ``after publish 2``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from runner.queues.rabbitmq import RabbitBroker
from runner.queues.rabbitmq.channel import Channel
from tests.queues.rabbitmq_case import credential, options

LEASE = 4.0
#: The step after which there is a message to die with.
CAUGHT = "stop_consuming"
STEPS = (CAUGHT, "declare", "consume", "publish", "ack", "ping", "delete")


class Fate:
    """Dies at one point."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._calls: Counter[str] = Counter()
        self._is_on = False

    def spread(self) -> None:
        """Have every step of every channel pass here."""
        for step in STEPS:
            setattr(Channel, step, self._watched(step, getattr(Channel, step)))

    def _watched(
        self, step: str, method: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def watched(*words: Any, **named: Any) -> Any:
            self._calls[step] += self._is_on
            self._die(f"before {step} {self._calls[step]}")
            answer = await method(*words, **named)
            self._is_on = self._is_on or step == CAUGHT
            self._die(f"after {step} {self._calls[step]}")
            return answer

        return watched

    def _die(self, point: str) -> None:
        if self._is_on and point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


async def run(*words: str) -> None:
    """Receive, renew, settle."""
    url, name, verb, point, directory = words
    Fate(point).spread()
    async with RabbitBroker(credential(url), options(Path(directory), lease=LEASE)) as broker:
        delivery = await (await broker.open(name)).receive()
        await delivery.extend()
        if verb == "release":
            await delivery.release(timedelta(seconds=1))
        elif verb == "bury":
            await delivery.bury("no reason")
        else:
            await delivery.ack()


if __name__ == "__main__":
    anyio.run(run, *sys.argv[1:])
