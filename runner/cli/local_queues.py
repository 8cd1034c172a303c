"""Local queues for the commands that write into them and look into them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from runner.errors import Misconfigured
from runner.queues import BROKERS
from runner.queues.base import Broker, Inspectable, Queue
from runner.settings import Settings

#: The settings that ``opened`` reads.
SETTINGS = ("queue_root", "queue_match", "queue_mismatch", "queue_poll", "lease")


class LocalQueue(Queue, Inspectable):
    """What every local queue is: countable, and open to a look."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Broker]:
    """Give the broker of all queues below ``--queue-root``. Raises Misconfigured."""
    if settings.queue_root is None:
        raise Misconfigured("there is no directory of local queues: name one with --queue-root")
    broker: Broker = BROKERS.load("local")(
        settings.queue_root,
        match=re.compile(""),
        lease=settings.lease,
        owner=f"command line, process {os.getpid()}",
        poll=settings.queue_poll,
    )
    async with broker:
        yield broker


def is_taken(settings: Settings, name: str) -> bool:
    """Tell whether a daemon with these settings takes from the queue."""
    unwanted = settings.queue_mismatch
    return bool(settings.queue_match.search(name)) and not (unwanted and unwanted.search(name))


async def names(broker: Broker) -> frozenset[str]:
    """Return the queues that there are now."""
    async for found in broker.discover():
        return found
    return frozenset()


async def queue(broker: Broker, name: str) -> LocalQueue:
    """Return one queue."""
    return cast("LocalQueue", await broker.open(name))
