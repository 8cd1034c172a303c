"""One unary pull, from its opening to its end."""

from __future__ import annotations

from contextlib import suppress

import anyio
from google.pubsub_v1 import types
from grpc import StatusCode
from grpc.aio import AioRpcError

from runner.queues.pubsub.answer import Call, ended, taken
from runner.queues.pubsub.service import Service, routing
from runner.queues.pubsub.subscription import Subscription

#: Seconds that a pull stays open; the service ends it sooner if it likes.
_SECONDS = 90.0


async def pull(service: Service, subscription: Subscription) -> types.ReceivedMessage | None:
    """Wait for a message; ``None`` when there was none. Raises QueueUnavailable.

    Cancelled, it gives back what came at the same moment. What was still on its way comes back
    after the subscription's ack deadline.
    """
    path = subscription.path
    async with service.lines.pulling() as line:
        call: Call[types.PullResponse] = line.subscriber.pull(
            types.PullRequest(subscription=path, max_messages=1),
            timeout=_SECONDS,
            metadata=routing({"subscription": path}),
        )
        try:
            await ended(call)
        except anyio.get_cancelled_exc_class():
            if not call.cancel():
                with suppress(AioRpcError):
                    await subscription.give_back((await taken(call)).received_messages)
            raise
        try:
            answer = await taken(call)
        except AioRpcError as error:
            if error.code() is StatusCode.DEADLINE_EXCEEDED:
                return None
            raise service.pull_trouble(error, path) from error
    return next(iter(answer.received_messages), None)
