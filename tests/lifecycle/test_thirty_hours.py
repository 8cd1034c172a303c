"""Experiments that take longer than SQS lets anybody hold a message, on a clock of our own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import LeaseLost
from runner.lifecycle.ownership.claim import Beating, Claim, Claims, Observations, Owner
from runner.lifecycle.ownership.guard import Duty, duty
from runner.lifecycle.ownership.handing_over import HandingOver, complete
from runner.model import (
    Artifact,
    Bytes,
    Completed,
    Experiment,
    Location,
    Message,
    Needs,
    Request,
)
from runner.queues.drawer import Drawer
from runner.queues.sqs.delivery import SqsDelivery
from runner.queues.sqs.facts import Facts
from runner.queues.sqs.letters import Letters
from runner.queues.sqs.receipt import Receipt, message_of, receipt_of
from runner.stores.local import LocalStore
from tests.servers.clocked_sqs import URL, Clock, ClockedSqs

pytestmark = pytest.mark.anyio

LEASE = timedelta(minutes=30)
BODY = '{"experiment": {"key": "key"}}\u2028 \u00e4'


@dataclass
class World:
    """A queue, a store, and the runners on them."""

    root: Path
    retention: timedelta
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.sqs = ClockedSqs(self.clock, self.retention)
        self.store = LocalStore((self.root,))
        self.letters = Letters(self.sqs, Drawer(self.root / "dead", Bytes(1)), self._facts, str)
        place = Location("file", "", "", str(self.root / "experiments" / "output.tar"))
        output = Artifact("output", place, mutable=True, unpack=True)
        self.request = Request(Experiment("key", "a.py"), Needs(), {"output": output})
        self.observations = {name: Observations(self.clock) for name in ("here", "there")}

    async def _facts(self) -> Facts:
        return Facts(retention=self.retention)

    def received(self) -> SqsDelivery | None:
        """Receive what is visible, as ``SqsQueue`` does."""
        found = self.sqs.receive(LEASE)
        if found is None:
            return None
        now = self.clock()
        receipt = receipt_of(found, URL, now=now, server=now, retention=self.retention)
        return self.delivery(message_of(found, "sqs_demo"), receipt.token)

    def delivery(self, message: Message, token: str) -> SqsDelivery:
        """Return what the token holds."""
        return SqsDelivery(
            message,
            Receipt.of(token),
            LEASE,
            self.sqs,
            self.letters,
            hidden_at=self.clock(),
            terms=self.clock.terms,
        )

    def claims(self, name: str, message: Message) -> Claims:
        """Return what a runner asks with."""
        return Claims(
            self.store,
            self.request,
            Owner(name, name, f"run of {name}"),
            LEASE,
            self.observations[name],
            message=message.id,
            mark=message.mark,
        )


class Runner:
    """The one that runs the experiment."""

    def __init__(self, world: World, delivery: SqsDelivery, claim: Claim) -> None:
        self.world, self.delivery, self.claim = world, delivery, claim
        self.handing_over = HandingOver(delivery, "run of here")

    async def renew(self) -> None:
        """Do what the keeper does."""
        await self.claim.beat()
        await self.delivery.extend()
        await self.handing_over.when_due(self.claim)

    async def attach(self, fresh: SqsDelivery) -> None:
        """Do what ``Holding`` does when the fresh message comes to us."""
        old, self.delivery = self.delivery, fresh
        self.handing_over = HandingOver(fresh, "run of here")
        with suppress(LeaseLost):
            await complete(old, fresh, self.claim)

    async def restart(self) -> None:
        """Go on in another daemon, which has the token."""
        message, token = self.delivery.message, self.delivery.token
        self.delivery = self.world.delivery(message, token)
        self.handing_over = HandingOver(self.delivery, "run of here")
        await self.delivery.extend()

    async def end(self) -> None:
        """Settle."""
        await self.claim.finish(Completed())
        with suppress(LeaseLost):
            await self.delivery.ack()


class Other:
    """Another runner on the same queue, which keeps what it gets."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kept: list[SqsDelivery] = []

    async def look(self) -> None:
        """Do what its guards do."""
        for delivery in list(self.kept):
            said = await self.world.claims("there", delivery.message).look()
            if duty(said) is Duty.KEEP:
                await delivery.extend()
                continue
            self.kept.remove(delivery)
            assert duty(said) is Duty.DELETE
            await delivery.ack()

    async def take(self, delivery: SqsDelivery) -> None:
        """Find that it is not to run."""
        assert delivery.message.mark == "run of here"
        taken = await self.world.claims("there", delivery.message).take()
        assert isinstance(taken, Beating)
        assert taken.is_carrier
        self.kept.append(delivery)


@pytest.mark.parametrize("takes", ["itself", "another", "nobody"])
@pytest.mark.parametrize(
    ("hours", "retention"),
    [(30, timedelta(days=4)), (30, timedelta(hours=8)), (400, timedelta(days=4))],
    ids=["30 h", "30 h in a queue that forgets after 8", "400 h"],
)
async def test_a_long_experiment_runs_once_and_ends_once(
    tmp_path: Path, takes: str, hours: int, retention: timedelta
) -> None:
    """A message stands for it at every moment, no other attempt begins, and none is left after."""
    world = World(tmp_path, retention)
    world.sqs.send(BODY)
    delivery = world.received()
    assert delivery is not None
    claim = await world.claims("here", delivery.message).take()
    assert isinstance(claim, Claim)
    runner, other = Runner(world, delivery, claim), Other(world)
    for step in range(hours * 6):
        world.clock.now += 600
        await runner.renew()
        assert world.sqs.messages
        assert {one.body for one in world.sqs.messages} == {BODY}
        if step % 50 == 49:
            await runner.restart()
        found = None if takes == "nobody" else world.received()
        if found is not None:
            await (runner.attach(found) if takes == "itself" else other.take(found))
        await other.look()
    await runner.end()
    world.clock.now += 600
    await other.look()
    while (left := world.received()) is not None:
        said = await world.claims("there", left.message).look()
        assert duty(said) is Duty.DELETE
        await left.ack()
    assert world.sqs.sent - 1 >= hours // 12
    # Each message was settled once, but for those that nobody ever had.
    over = [*world.sqs.deleted, *world.sqs.forgotten]
    assert sorted(over) == sorted(f"m{number + 1}" for number in range(world.sqs.sent))
    assert takes == "nobody" or not world.sqs.forgotten
    assert not world.sqs.messages
    assert world.sqs.most_receives == 1


async def test_without_a_hand_over_the_message_would_be_gone(tmp_path: Path) -> None:
    """What the clock of these tests is worth: SQS takes away what is only renewed."""
    world = World(tmp_path, timedelta(days=4))
    world.sqs.send(BODY)
    delivery = world.received()
    assert delivery is not None
    for _ in range(12 * 6 - 1):
        world.clock.now += 600
        await delivery.extend()
    world.clock.now += 600
    with pytest.raises(LeaseLost, match="12 hours"):
        await delivery.extend()
    assert world.received() is not None
