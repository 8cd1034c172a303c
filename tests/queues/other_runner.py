"""Another runner on the same queue root, as a process of its own.

Run as ``python other_runner.py ROOT QUEUE MODE [USER]``.
``hold`` receives one message, says so and keeps it until it is killed; ``drain`` acknowledges
messages and prints their bodies until its standard input ends; ``look`` tries to discover queues
and prints the error. With ``USER`` it becomes that user once all is imported: the interpreter may
lie where only root may read.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.abc

from runner.errors import QueueUnavailable
from runner.queues.base import Queue
from runner.queues.choice import Choice
from runner.queues.local import LocalBroker


def say(text: str) -> None:
    """Tell the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def hold(queue: Queue) -> None:
    """Hold one message for ever."""
    delivery = await queue.receive()
    await delivery.extend()
    say(delivery.message.id)
    while True:
        await anyio.sleep(delivery.lease.total_seconds() / 4)
        await delivery.extend()


async def drain(queue: Queue) -> None:
    """Acknowledge what comes until nobody listens any more."""

    async def work(scope: anyio.CancelScope) -> None:
        while True:
            delivery = await queue.receive()
            await delivery.ack()
            say(delivery.message.body.decode())
            if scope.cancel_called:
                return

    async with anyio.create_task_group() as group:
        group.start_soon(work, group.cancel_scope)
        await anyio.wait_readable(sys.stdin)
        group.cancel_scope.cancel()


async def look(broker: LocalBroker) -> None:
    """Discover queues once."""
    async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        say(f"found {sorted(await anext(sets))}")


async def main(root: str, name: str, mode: str, user: str = "") -> None:
    """Do as told."""
    if user:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    broker = LocalBroker(
        Path(root),
        choice=Choice(re.compile("^local")),
        lease=timedelta(seconds=0.6),
        owner="another runner",
        poll=timedelta(seconds=5),
    )
    try:
        async with broker:
            if mode == "look":
                await look(broker)
            else:
                await {"hold": hold, "drain": drain}[mode](await broker.open(name))
    except QueueUnavailable as error:
        say(f"QueueUnavailable: {error}")


if __name__ == "__main__":
    anyio.run(lambda: main(*sys.argv[1:]))
