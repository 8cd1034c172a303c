"""Names of subscriptions and topics, as StudioML clients and Google write them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from runner.errors import Misconfigured
from runner.queues import addresses
from runner.queues.choice import RESPONSES

#: What a client adds to the topic's name to name its subscription.
SUFFIX = "_sub"
#: Google's name for the topic of a subscription that has outlived it.
DELETED_TOPIC = "_deleted-topic_"


def short(project: str, name: str) -> str:
    """Return the subscription's id; of another project's the whole path. Raises Misconfigured."""
    address = addresses.parse(name, plain="pubsub", option="a queue")
    if not isinstance(address, addresses.PubsubAddress):
        raise Misconfigured(f"the queue {name[:80]!r} is no subscription of Google Pub/Sub")
    if address.project in {"", project}:
        return address.name
    return f"projects/{address.project}/subscriptions/{address.name}"


def short_names(project: str, names: Iterable[str]) -> frozenset[str]:
    """Return the short names of all."""
    return frozenset(short(project, name) for name in names)


def subscription_path(project: str, name: str) -> str:
    """Return ``projects/P/subscriptions/S`` of a short name."""
    return name if name.startswith("projects/") else f"projects/{project}/subscriptions/{name}"


def address(subscription: str) -> str:
    """Say which queue of the world a path means: the same for every credential that shows it."""
    _, project, _, name = subscription.split("/", 3)
    return f"pubsub:{project}/{name}"


def topic_path(subscription: str) -> str:
    """Return the path of the topic that a client would publish to for this subscription."""
    return subscription.replace("/subscriptions/", "/topics/").removesuffix(SUFFIX)


def is_response(name: str) -> bool:
    """Tell whether reports are sent there: nobody takes experiments from it."""
    return name.endswith(RESPONSES)
