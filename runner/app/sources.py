"""Where experiments come from: the brokers that the settings name."""

from __future__ import annotations

import re
from collections.abc import Callable

from runner.queues import BROKERS
from runner.queues.base import Broker
from runner.queues.choice import Choice
from runner.settings import Settings


def brokers(settings: Settings, owner: str) -> list[Broker]:
    """Return the brokers, not yet opened; ``owner`` is written into claims, for people."""
    if settings.queue_root is None:
        return []
    return [
        BROKERS.load("local")(
            settings.queue_root,
            choice=Choice(settings.queue_match, settings.queue_mismatch),
            lease=settings.lease,
            owner=owner,
            poll=settings.queue_poll,
        )
    ]


def named(settings: Settings) -> Callable[[str], bool]:
    """Return what tells whether the operator wrote the name of a queue in --queue-match."""
    written = settings.queue_match.pattern if settings.given("queue_match") else ""

    def is_named(queue: str) -> bool:
        return re.search(rf"(?<![\w-]){re.escape(queue)}(?![\w-])", written) is not None

    return is_named
