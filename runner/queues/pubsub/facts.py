"""What a subscription's settings mean for us; whoever may not read them works without."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.pubsub_v1.types import Subscription

from runner.queues.pubsub import names

#: Settings are read anew after so many seconds, where discovery does not do it anyway.
_VALID = 600.0
#: Where Google itself writes what is published; older SDKs do not know all of them.
_EXPORTS = ("bigquery_config", "bigtable_config", "cloud_storage_config")


@dataclass(frozen=True, slots=True)
class Facts:
    """The settings that matter; the defaults stand for what is not known."""

    #: Path of the topic; empty where it was deleted or is not known.
    topic: str = ""
    #: The service's answers to settling are proofs.
    exactly_once: bool = False
    #: Unacknowledged messages vanish at this age.
    retention: timedelta | None = None
    #: Path of the topic that the owner wants dead letters on.
    dead_letter_topic: str = ""
    #: Messages can be pulled: they are not pushed or exported somewhere.
    is_pullable: bool = True

    def hold_limit(self, published: datetime | None) -> timedelta | None:
        """Return how long a message of this age can still be held."""
        if self.retention is None or published is None:
            return None
        return max(timedelta(0), self.retention - (datetime.now(UTC) - published))


UNKNOWN = Facts()


def facts_of(subscription: Subscription) -> Facts:
    """Read the settings."""
    topic = subscription.topic
    exports = (getattr(subscription, name, None) for name in _EXPORTS)
    is_elsewhere = subscription.push_config.push_endpoint or subscription.detached or any(exports)
    return Facts(
        topic="" if topic == names.DELETED_TOPIC else topic,
        exactly_once=subscription.enable_exactly_once_delivery,
        retention=subscription.message_retention_duration or None,
        dead_letter_topic=subscription.dead_letter_policy.dead_letter_topic,
        is_pullable=not is_elsewhere,
    )


class FactBook:
    """The facts of all subscriptions of one broker, by path; read and written in any thread."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Facts, float]] = {}

    def note(self, path: str, facts: Facts) -> None:
        """Remember what was just read, or that it cannot be read."""
        self._known[path] = (facts, time.monotonic())

    def of(self, path: str) -> Facts:
        """Return what is known by now."""
        return self._known.get(path, (UNKNOWN, 0.0))[0]

    def is_fresh(self, path: str) -> bool:
        """Tell whether there is no need to read them again."""
        return path in self._known and time.monotonic() - self._known[path][1] < _VALID
