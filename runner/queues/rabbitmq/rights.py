"""What a user of RabbitMQ may not do, learned from refusals: nothing is consumed, made or sent.

The broker looks at rights before anything else, so that it is asked for what it grants to nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from pamqp.commands import Basic

from runner.errors import QueueUnavailable
from runner.queues.base import Rights
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.boundary import Forbidden, Impossible, NoSuchQueue
from runner.queues.rabbitmq.channel import Channel
from runner.queues.rabbitmq.line import Line

_CLAIMS = "claims last as long as a connection, and a restart repeats work"


async def rights(line: Line, queue: str) -> Rights:
    """Ask on the engine's loop. Raises QueueUnavailable."""
    ours = f"{parking.PREFIX}trial.{secrets.token_hex(8)}"
    missing = await _refused(line, lambda channel: channel.refused_consume(queue))
    wanting = [
        await _refused(line, lambda channel: channel.delete(ours)),
        await _refused(line, lambda channel: channel.refused_consume(ours)),
        await _refused(line, lambda channel: _publish(channel, ours)),
    ]
    return Rights(
        missing=(missing,) if missing else (),
        wanting=tuple(f"{_CLAIMS}: {sentence}" for sentence in wanting if sentence),
    )


async def _refused(line: Line, act: Callable[[Channel], Awaitable[object]]) -> str:
    """Return how it was refused for want of a right; empty: it was not."""
    # A channel for each: a refusal ends it.
    async with line.lent() as channel:
        try:
            await act(channel)
        except Forbidden as error:
            return str(error)
        except (Impossible, NoSuchQueue):
            pass
    return ""


async def _publish(channel: Channel, queue: str) -> None:
    """Publish to a queue that is not there: the message comes back."""
    if await channel.publish(b"", Basic.Properties(), queue=queue):
        raise QueueUnavailable(f"somebody has made a queue {queue}")
