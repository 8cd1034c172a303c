"""Pub/Sub messages are held for days, on a clock of our own: Google's own client ends at 1 h."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from runner.errors import LeaseLost
from runner.model import Message
from runner.queues.pubsub.delivery import PubsubDelivery
from runner.queues.pubsub.facts import Facts
from runner.queues.pubsub.subscription import Subscription
from runner.queues.pubsub.term import Term
from tests.servers.clocked_sqs import Clock

pytestmark = pytest.mark.anyio

LEASE = timedelta(minutes=2)
DAYS = 5


class ClockedSubscription(Subscription):
    """One message, which is ours for as long as its deadline was last said to be."""

    path = "projects/p/subscriptions/s"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deadline = clock() + 10
        self.acknowledged: list[str] = []

    @property
    def facts(self) -> Facts:
        """Know nothing of it."""
        return Facts()

    async def hide(self, ack_id: str, delay: timedelta) -> None:
        """Set the deadline; who comes too late has lost it already."""
        assert ack_id == "ack id"
        assert self.clock() < self.deadline, "others had it meanwhile"
        self.deadline = self.clock() + delay.total_seconds()

    async def forget(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge."""
        assert self.clock() < self.deadline
        self.acknowledged += ack_ids


def delivery_of(subscription: ClockedSubscription, term: Term) -> PubsubDelivery:
    """Return the message, held until then."""
    message = Message("1", b"{}", "s")
    return PubsubDelivery(message, subscription, term, LEASE, clock=subscription.clock)


async def test_a_lease_goes_on_for_days() -> None:
    """Each renewal is as good as the first one; so is a daemon's that takes over on the way."""
    clock = Clock()
    subscription = ClockedSubscription(clock)
    delivery = delivery_of(subscription, Term("ack id", clock() + 10))
    await delivery.extend()
    pause = LEASE.total_seconds() / 3
    for number in range(int(timedelta(days=DAYS).total_seconds() / pause)):
        clock.now += pause
        await delivery.extend()
        if number % 1000 == 999:
            delivery = delivery_of(subscription, Term.read(delivery.token))
    assert delivery.hold_limit is None
    assert not delivery.is_ageing
    await delivery.ack()
    assert subscription.acknowledged == ["ack id"]


async def test_only_a_renewal_that_is_late_ends_it() -> None:
    """The clock of these tests is the one that counts."""
    clock = Clock()
    subscription = ClockedSubscription(clock)
    delivery = delivery_of(subscription, Term("ack id", clock() + 10))
    await delivery.extend()
    clock.now += LEASE.total_seconds()
    with pytest.raises(LeaseLost):
        await delivery.extend()
