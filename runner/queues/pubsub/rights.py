"""What a Google identity may not do with a subscription, asked without doing it."""

from __future__ import annotations

from runner.queues.base import Rights
from runner.queues.pubsub.service import Service
from runner.queues.pubsub.subscription import Subscription

_CONSUME, _GET = "pubsub.subscriptions.consume", "pubsub.subscriptions.get"
_PUBLISH = "pubsub.topics.publish"


async def rights(service: Service, subscription: Subscription) -> Rights | None:
    """Ask about the subscription, and about the topic of its dead letters. Raises QueueUnavailable.

    ``None``: the service does not tell.
    """
    path = subscription.path
    found = await service.allowed(path, (_CONSUME, _GET))
    if found is None:
        return None
    missing, wanting = [], []
    if _CONSUME not in found:
        missing.append(f"{_CONSUME} on {path} is missing: grant roles/pubsub.subscriber")
    if _GET not in found:
        wanting.append(
            f"{_GET} on {path} is missing: its ack deadline and dead letters are not known; grant "
            "roles/pubsub.viewer"
        )
    topic = (await subscription.learn()).dead_letter_topic
    if topic and _PUBLISH not in (await service.allowed(topic, (_PUBLISH,)) or ()):
        wanting.append(
            f"{_PUBLISH} on {topic} is missing: buried messages stay on this machine; grant "
            "roles/pubsub.publisher"
        )
    return Rights(tuple(missing), tuple(wanting))
