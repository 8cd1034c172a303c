"""A small Pub/Sub in memory, for what Google's emulator does not do: faults, limits, refusals.

``python -m tests.servers.pubsub_fake PORT CONTROL_PORT``. It speaks the protocol on the first port
and takes a line of JSON per connection on the second (``tests/servers/pubsub.py`` writes them).
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.abc
import grpc
import grpc.aio
from google.iam.v1 import iam_policy_pb2
from google.protobuf import any_pb2, empty_pb2
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2

#: Streams on one connection, as at Google's front end.
STREAMS = 100
_DETAILS = "grpc-status-details-bin"
_FOREVER = 3600.0


@dataclass
class Held:
    """A message in somebody's hands, until its deadline."""

    number: int
    until: float


@dataclass
class Subscription:
    """Messages by number, in the order in which they were published."""

    settings: types.Subscription
    messages: dict[int, types.PubsubMessage] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    attempts: Counter[int] = field(default_factory=Counter)
    news: anyio.Event = field(default_factory=anyio.Event)

    def ring(self) -> None:
        """Wake the open pulls."""
        self.news.set()
        self.news = anyio.Event()

    def expire(self) -> None:
        """Take back what nobody kept."""
        now = time.monotonic()
        self.held = {ack_id: held for ack_id, held in self.held.items() if held.until > now}

    def free(self) -> list[int]:
        """Return what nobody holds, oldest first."""
        self.expire()
        busy = {held.number for held in self.held.values()}
        return [number for number in sorted(self.messages) if number not in busy]

    def seconds_to_next(self) -> float:
        """Return when the first deadline passes."""
        ends = [held.until for held in self.held.values()]
        return max(0.001, min(ends) - time.monotonic()) if ends else _FOREVER


@dataclass
class Fault:
    """What is done instead of an answer."""

    project: str
    #: ``Pull``; ``*`` for all.
    method: str
    #: Name of a status; empty: no answer at all.
    status: str = ""
    details: str = "told to"
    #: Answer a pull with no messages at once.
    empty: bool = False
    #: Done so often; then it is over.
    times: int = 1_000_000


class Fake:
    """The whole service."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.topics: set[str] = set()
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self.page = 1000
        #: Resource and permission: nobody has it, as far as is asked for it.
        self.denied: set[tuple[str, str]] = set()
        self._numbers = itertools.count(1)

    # ------------------------------------------------------------------ subscriber

    async def list_subscriptions(
        self, request: types.ListSubscriptionsRequest, _: grpc.aio.ServicerContext[Any, Any]
    ) -> types.ListSubscriptionsResponse:
        """Answer in pages."""
        prefix = f"{request.project}/"
        paths = sorted(path for path in self.subscriptions if path.startswith(prefix))
        start, size = int(request.page_token or 0), min(request.page_size, self.page)
        page = [self.subscriptions[path].settings for path in paths[start : start + size]]
        more = str(start + size) if start + size < len(paths) else ""
        return types.ListSubscriptionsResponse(subscriptions=page, next_page_token=more)

    async def get_subscription(
        self, request: types.GetSubscriptionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.Subscription:
        """Return the settings."""
        return (await self._of(request.subscription, context)).settings

    async def create_subscription(
        self, request: types.Subscription, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.Subscription:
        """Make one, of a topic that is there."""
        if request.topic not in self.topics:
            await _missing(context, request.topic)
        if request.name in self.subscriptions:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "Resource already exists")
        self.subscriptions[request.name] = Subscription(request)
        return request

    async def pull(
        self, request: types.PullRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.PullResponse:
        """Wait for messages; their deadline runs from here."""
        with self._counted(context.peer()):
            while True:
                subscription = await self._of(request.subscription, context)
                taken = self._taken(subscription, request.max_messages)
                if taken:
                    return types.PullResponse(received_messages=taken)
                with anyio.move_on_after(subscription.seconds_to_next()):
                    await subscription.news.wait()

    def _taken(self, subscription: Subscription, most: int) -> list[types.ReceivedMessage]:
        taken = []
        policy = subscription.settings.dead_letter_policy
        for number in subscription.free():
            subscription.attempts[number] += 1
            attempt = subscription.attempts[number]
            message = subscription.messages[number]
            if policy.dead_letter_topic and attempt > policy.max_delivery_attempts:
                del subscription.messages[number]
                self._spread(policy.dead_letter_topic, message)
                continue
            ack_id = f"ack-{number}-{next(self._numbers)}"
            seconds = subscription.settings.ack_deadline_seconds or 10
            subscription.held[ack_id] = Held(number, time.monotonic() + seconds)
            counted = attempt if policy.dead_letter_topic else 0
            taken.append(
                types.ReceivedMessage(ack_id=ack_id, message=message, delivery_attempt=counted)
            )
            if len(taken) == most:
                break
        return taken

    async def modify_ack_deadline(
        self, request: types.ModifyAckDeadlineRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Move deadlines; an unknown ack id is only told where delivery is exactly once."""
        subscription = await self._of(request.subscription, context)
        if not 0 <= request.ack_deadline_seconds <= 600:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "deadline of 0 to 600 s")
        await self._check(subscription, request.ack_ids, context)
        for ack_id in request.ack_ids:
            if ack_id in subscription.held:
                held = subscription.held[ack_id]
                held.until = time.monotonic() + request.ack_deadline_seconds
        subscription.ring()
        return empty_pb2.Empty()

    async def acknowledge(
        self, request: types.AcknowledgeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Forget messages."""
        subscription = await self._of(request.subscription, context)
        await self._check(subscription, request.ack_ids, context)
        for ack_id in request.ack_ids:
            held = subscription.held.pop(ack_id, None)
            if held is not None:
                subscription.messages.pop(held.number, None)
        return empty_pb2.Empty()

    async def _check(
        self,
        subscription: Subscription,
        ack_ids: Any,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        subscription.expire()
        unknown = [ack_id for ack_id in ack_ids if ack_id not in subscription.held]
        if not unknown or not subscription.settings.enable_exactly_once_delivery:
            return
        reasons = dict.fromkeys(unknown, "PERMANENT_FAILURE_INVALID_ACK_ID")
        info = error_details_pb2.ErrorInfo(reason="SOME_ACK_IDS_FAILED", metadata=reasons)
        detail = any_pb2.Any()
        detail.Pack(info)
        status = status_pb2.Status(code=3, message="Some acknowledgement ids failed")
        status.details.append(detail)
        trailing = ((_DETAILS, status.SerializeToString()),)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, status.message, trailing)

    async def granted(
        self,
        request: iam_policy_pb2.TestIamPermissionsRequest,
        _: grpc.aio.ServicerContext[Any, Any],
    ) -> iam_policy_pb2.TestIamPermissionsResponse:
        """Grant what is not denied."""
        denied = {right for resource, right in self.denied if resource == request.resource}
        granted = [right for right in request.permissions if right not in denied]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    # ------------------------------------------------------------------ publisher

    async def create_topic(
        self, request: types.Topic, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.Topic:
        """Make a topic."""
        if request.name in self.topics:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "Resource already exists")
        self.topics.add(request.name)
        return request

    async def publish(
        self, request: types.PublishRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.PublishResponse:
        """Give each subscription a copy."""
        if request.topic not in self.topics:
            await _missing(context, request.topic)
        ids = [self._spread(request.topic, message) for message in request.messages]
        return types.PublishResponse(message_ids=ids)

    def _spread(self, topic: str, message: types.PubsubMessage) -> str:
        number = next(self._numbers)
        copy = types.PubsubMessage(
            data=message.data,
            attributes=message.attributes,
            message_id=str(number),
            publish_time=datetime.now(UTC),
        )
        for subscription in self.subscriptions.values():
            if subscription.settings.topic == topic:
                subscription.messages[number] = copy
                subscription.ring()
        return str(number)

    # ------------------------------------------------------------------ the rest

    def faulty(self, method: str, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        """Put the faults that were asked for before the answer."""

        async def answered(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            text = str(request)
            self.calls[method] += 1
            for fault in self.faults:
                if fault.times and fault.method in {method, "*"} and f"/{fault.project}" in text:
                    fault.times -= 1
                    if fault.empty:
                        return types.PullResponse()
                    if not fault.status:
                        await anyio.sleep_forever()
                    await context.abort(grpc.StatusCode[fault.status], fault.details)
            return await answer(request, context)

        return answered

    @contextmanager
    def _counted(self, peer: str) -> Iterator[None]:
        self.open[peer] += 1
        self.most_open[peer] = max(self.most_open[peer], self.open[peer])
        try:
            yield
        finally:
            self.open[peer] -= 1

    async def _of(self, path: str, context: grpc.aio.ServicerContext[Any, Any]) -> Subscription:
        if path not in self.subscriptions:
            await _missing(context, path)
        return self.subscriptions[path]


async def _missing(context: grpc.aio.ServicerContext[Any, Any], path: str) -> None:
    name = path.rpartition("/")[2]
    await context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")


def handlers(fake: Fake) -> list[grpc.GenericRpcHandler]:
    """Return both services: google-cloud-pubsub ships no servicer classes."""

    def handler(
        method: str, answer: Callable[..., Any], takes: Any, gives: Any
    ) -> tuple[str, grpc.RpcMethodHandler[Any, Any]]:
        reads = takes.deserialize if hasattr(takes, "deserialize") else takes.FromString
        writes = gives.serialize if hasattr(gives, "serialize") else gives.SerializeToString
        return method, grpc.unary_unary_rpc_method_handler(
            fake.faulty(method, answer),
            request_deserializer=reads,
            response_serializer=writes,
        )

    empty = empty_pb2.Empty
    modify = types.ModifyAckDeadlineRequest
    listed = (types.ListSubscriptionsRequest, types.ListSubscriptionsResponse)
    subscriber = [
        handler("ListSubscriptions", fake.list_subscriptions, *listed),
        handler(
            "GetSubscription",
            fake.get_subscription,
            types.GetSubscriptionRequest,
            types.Subscription,
        ),
        handler(
            "CreateSubscription", fake.create_subscription, types.Subscription, types.Subscription
        ),
        handler("Pull", fake.pull, types.PullRequest, types.PullResponse),
        handler("ModifyAckDeadline", fake.modify_ack_deadline, modify, empty),
        handler("Acknowledge", fake.acknowledge, types.AcknowledgeRequest, empty),
    ]
    publisher = [
        handler("CreateTopic", fake.create_topic, types.Topic, types.Topic),
        handler("Publish", fake.publish, types.PublishRequest, types.PublishResponse),
    ]
    rights = handler(
        "TestIamPermissions",
        fake.granted,
        iam_policy_pb2.TestIamPermissionsRequest,
        iam_policy_pb2.TestIamPermissionsResponse,
    )
    return [
        grpc.method_handlers_generic_handler("google.iam.v1.IAMPolicy", dict([rights])),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", dict(subscriber)),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", dict(publisher)),
    ]


class Control:
    """What tests ask for beside the protocol."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake
        self.down = anyio.Event()
        self.down_seconds = 0.0

    async def talk(self, stream: anyio.abc.SocketStream) -> None:
        """Read one line and answer it with one."""
        async with stream:
            asked = json.loads(await stream.receive(1_000_000))
            answer = getattr(self, asked.pop("do"))(**asked)
            await stream.send(json.dumps(answer).encode())

    def create(self, path: str, topic: str, **settings: Any) -> None:
        """Make topic and subscription; ``settings`` as in the API."""
        self._fake.topics.add(topic)
        made = types.Subscription(name=path, topic=topic, **settings)
        if made.dead_letter_policy.dead_letter_topic:
            self._fake.topics.add(made.dead_letter_policy.dead_letter_topic)
        made.ack_deadline_seconds = made.ack_deadline_seconds or 20
        self._fake.subscriptions[path] = Subscription(made)

    def delete(self, path: str) -> None:
        """Delete a subscription; its open pulls are told."""
        self._fake.subscriptions.pop(path).ring()

    def fault(self, **fault: Any) -> None:
        """Do something else than answer, from now on."""
        self._fake.faults.append(Fault(**fault))

    def deny(self, resource: str, permission: str) -> None:
        """Say that nobody has this permission; what needs it works all the same."""
        self._fake.denied.add((resource, permission))

    def well(self, project: str) -> None:
        """End the project's faults."""
        self._fake.faults = [one for one in self._fake.faults if one.project != project]

    def pages(self, size: int) -> None:
        """List so many subscriptions on a page."""
        self._fake.page = size

    def stats(self) -> dict[str, Any]:
        """Return how many pulls are and were open, by connection, and the calls so far."""
        return {
            "open": {peer: count for peer, count in self._fake.open.items() if count},
            "most": dict(self._fake.most_open),
            "calls": dict(self._fake.calls),
        }

    def pid(self) -> int:
        """Return the process."""
        return os.getpid()

    def go_down(self, seconds: float) -> None:
        """Close the port and all connections for a while; nothing is forgotten."""
        self.down_seconds = seconds
        self.down.set()


async def serve(port: int, control_port: int) -> None:
    """Serve until killed."""
    fake = Fake()
    control = Control(fake)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=control_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, control.talk)
        while True:
            options = [("grpc.max_concurrent_streams", STREAMS), ("grpc.so_reuseport", 0)]
            server = grpc.aio.server(handlers=handlers(fake), options=options)
            server.add_insecure_port(f"127.0.0.1:{port}")
            await server.start()
            await control.down.wait()
            control.down = anyio.Event()
            await server.stop(0)
            await anyio.sleep(control.down_seconds)


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]), int(sys.argv[2]))
