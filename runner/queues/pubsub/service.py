"""The calls of Pub/Sub that we need: each with its limit of time and its errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.iam.v1 import iam_policy_pb2
from google.pubsub_v1 import types
from grpc import StatusCode
from grpc.aio import AioRpcError

from runner.errors import QueueUnavailable
from runner.queues.pubsub import names
from runner.queues.pubsub.answer import Call, answer
from runner.queues.pubsub.lines import Line, Lines
from runner.queues.pubsub.trouble import Purpose, meaning

_PAGE = 1000
#: Seconds in which a message that is not acknowledged comes back; as StudioML clients make it.
_ACK_DEADLINE = 20
_NAME_IT = "or name the queues that are yours with --queue or in a 'queues' file beside it"


def _on_subscription(path: str, verb: str, right: str, role: str) -> Purpose:
    return Purpose(f"{verb} {path}", path, right, f"grant it, for example with {role}")


def _consuming(path: str, verb: str) -> Purpose:
    right, role = "pubsub.subscriptions.consume", "roles/pubsub.subscriber"
    return _on_subscription(path, verb, right, role)


class Service:
    """One project, on any event loop.

    Everything raises QueueUnavailable, QueueDenied, and QueueGone where there is no such
    subscription or topic.
    """

    def __init__(self, project: str, lines: Lines, timeout: timedelta) -> None:
        self.project = project
        self.lines = lines
        self._timeout = timeout.total_seconds()

    async def subscriptions(self) -> list[types.Subscription]:
        """List all of the project."""
        resource = f"projects/{self.project}"
        purpose = Purpose(
            f"list the subscriptions of {resource}",
            resource,
            "pubsub.subscriptions.list",
            f"grant it on the project, for example with roles/pubsub.viewer, {_NAME_IT}",
        )
        found: list[types.Subscription] = []
        token = ""
        while True:
            request = types.ListSubscriptionsRequest(
                project=resource, page_size=_PAGE, page_token=token
            )
            page: types.ListSubscriptionsResponse = await self._ask(
                lambda line: line.subscriber.list_subscriptions,
                request,
                {"project": resource},
                purpose,
            )
            found.extend(page.subscriptions)
            token = page.next_page_token
            if not token:
                return found

    async def subscription(self, path: str) -> types.Subscription:
        """Read the settings of one."""
        right, role = "pubsub.subscriptions.get", "roles/pubsub.viewer"
        found: types.Subscription = await self._ask(
            lambda line: line.subscriber.get_subscription,
            types.GetSubscriptionRequest(subscription=path),
            {"subscription": path},
            _on_subscription(path, "look at", right, role),
        )
        return found

    async def allowed(self, resource: str, permissions: Sequence[str]) -> frozenset[str] | None:
        """Return which of the permissions we have on a subscription or topic, without using them.

        ``None``: the service does not tell; emulators do not.
        """
        try:
            answer: iam_policy_pb2.TestIamPermissionsResponse = await self._ask(
                lambda line: line.subscriber.test_iam_permissions,
                iam_policy_pb2.TestIamPermissionsRequest(
                    resource=resource, permissions=list(permissions)
                ),
                {"resource": resource},
                Purpose(f"ask for our rights on {resource}", resource, "a right", "grant one"),
            )
        except QueueUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, AioRpcError) and cause.code() is StatusCode.UNIMPLEMENTED:
                return None
            raise
        return frozenset(answer.permissions)

    async def modify(self, path: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Let the messages come back after ``seconds``. Raises LeaseLost, where it is told."""
        await self._ask(
            lambda line: line.subscriber.modify_ack_deadline,
            types.ModifyAckDeadlineRequest(
                subscription=path, ack_ids=list(ack_ids), ack_deadline_seconds=seconds
            ),
            {"subscription": path},
            _consuming(path, "keep messages of"),
        )

    async def acknowledge(self, path: str, ack_ids: Sequence[str]) -> None:
        """Have the messages forgotten. Raises LeaseLost, where it is told."""
        await self._ask(
            lambda line: line.subscriber.acknowledge,
            types.AcknowledgeRequest(subscription=path, ack_ids=list(ack_ids)),
            {"subscription": path},
            _consuming(path, "acknowledge messages of"),
        )

    async def publish(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> str:
        """Publish a message and return its id."""
        message = types.PubsubMessage(data=body, attributes=dict(attributes))
        return (await self._publish(topic, [message]))[0]

    async def publish_all(self, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish messages that have a body alone."""
        await self._publish(topic, [types.PubsubMessage(data=body) for body in bodies])

    async def _publish(self, topic: str, messages: Sequence[types.PubsubMessage]) -> Sequence[str]:
        right, role = "pubsub.topics.publish", "roles/pubsub.publisher"
        published: types.PublishResponse = await self._ask(
            lambda line: line.publisher.publish,
            types.PublishRequest(topic=topic, messages=list(messages)),
            {"topic": topic},
            _on_subscription(topic, "publish on", right, role),
        )
        return [str(one) for one in published.message_ids]

    async def make(self, path: str) -> str:
        """Make a topic and a subscription as a client does; return the topic's path."""
        topic = names.topic_path(path)
        role = "roles/pubsub.editor"
        await self._make(
            lambda line: line.publisher.create_topic,
            types.Topic(name=topic),
            {"name": topic},
            _on_subscription(topic, "make the topic", "pubsub.topics.create", role),
        )
        await self._make(
            lambda line: line.subscriber.create_subscription,
            types.Subscription(name=path, topic=topic, ack_deadline_seconds=_ACK_DEADLINE),
            {"name": path},
            _on_subscription(path, "make the subscription", "pubsub.subscriptions.create", role),
        )
        return topic

    async def pull_now(self, path: str, most: int, seconds: float) -> list[types.ReceivedMessage]:
        """Take what comes within ``seconds``; nothing is an answer."""
        async with self.lines.pulling() as line:
            try:
                call: Call[types.PullResponse] = line.subscriber.pull(
                    types.PullRequest(subscription=path, max_messages=most),
                    timeout=seconds,
                    metadata=routing({"subscription": path}),
                )
                return list((await answer(call)).received_messages)
            except AioRpcError as error:
                if error.code() is StatusCode.DEADLINE_EXCEEDED:
                    return []
                raise self.pull_trouble(error, path) from error

    def pull_trouble(self, error: AioRpcError, path: str) -> QueueUnavailable:
        """Return what a failed pull means."""
        found = meaning(error, _consuming(path, "take messages of"), self.lines.who)
        return found if isinstance(found, QueueUnavailable) else QueueUnavailable(str(found))

    async def _make(
        self,
        method: Callable[[Line], Any],
        request: object,
        about: Mapping[str, str],
        purpose: Purpose,
    ) -> None:
        try:
            await self._ask(method, request, about, purpose)
        except QueueUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, AioRpcError) or cause.code() is not StatusCode.ALREADY_EXISTS:
                raise

    async def _ask(
        self,
        method: Callable[[Line], Any],
        request: object,
        about: Mapping[str, str],
        purpose: Purpose,
    ) -> Any:
        try:
            async with self.lines.control() as line:
                return await answer(
                    method(line)(request, timeout=self._timeout, metadata=routing(about))
                )
        except AioRpcError as error:
            raise meaning(error, purpose, self.lines.who) from error


def routing(about: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Tell Google's front end which resource the call is about."""
    header: tuple[str, str] = to_grpc_metadata(  # type: ignore[no-untyped-call]
        tuple(about.items())
    )
    return (header,)
