"""Which queues of a broker the settings take: the same for the daemon and for the command line."""

from __future__ import annotations

from datetime import timedelta

from runner.queues.addresses import LocalAddress, parse
from runner.queues.choice import Choice
from runner.settings import Settings

#: Of brokers that have no option of their own for it.
_TIMEOUT = timedelta(seconds=15)


def choice(settings: Settings, broker: str) -> Choice:
    """Return which queues are taken (design section 6): every subscription of a Google project."""
    takes_all = broker == "pubsub" and not settings.given("queue_match")
    return Choice(
        None if takes_all else settings.queue_match,
        settings.queue_mismatch,
        named=named_local(settings) if broker == LocalAddress.broker else frozenset(),
        prefix=settings.sqs_prefix if broker == "sqs" else "",
    )


def named_local(settings: Settings) -> frozenset[str]:
    """Return the local queues that ``--queue`` names. Raises Misconfigured."""
    found = (parse(text) for text in settings.queue)
    return frozenset(one.name for one in found if isinstance(one, LocalAddress))


def timeout(settings: Settings, broker: str) -> timedelta:
    """Return how long a broker may take to list its queues."""
    return {"pubsub": settings.pubsub_timeout, "sqs": settings.sqs_timeout}.get(broker, _TIMEOUT)
