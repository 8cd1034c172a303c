"""A restarted daemon takes over its runs although their brokers, or credentials, are not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from runner.errors import MessageGone, QueueUnavailable
from runner.lifecycle.loop import Loop
from runner.lifecycle.recovery import recover
from runner.queues.base import Broker
from runner.queues.credential import Credential
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Line, Machine, Points, Switchboard, seen

pytestmark = pytest.mark.anyio

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""
CREDENTIAL = Credential(broker="sqs", scope="a", origin="a.key", fingerprint="1")


class Left:
    """A run that the daemon before left, and its queue."""

    def __init__(self, root: Path) -> None:
        self.box = Box(root)
        self.points = Points()
        self.line = Line("sqs_one", self.points, broker="sqs", project="a")
        self.board = Switchboard(self.line)
        self.board.name, self.board.project = "sqs", "a"
        self.is_down = False
        #: Set when the broker was asked for.
        self.asked = anyio.Event()
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Credential, ...]](9)

    async def leave(self) -> None:
        """Start a run and go."""
        message = self.box.message(GO.format(go=str(self.box.root / "go")))
        async with Machine.open(self.box, points=self.points, queue=self.line) as first:
            handling, _ = await first.handling(message)
            async with anyio.create_task_group() as group:
                group.start_soon(handling.perform, await first.parts.intake.slot())
                await seen(lambda: "begun" in self.box.live_output())
                group.cancel_scope.cancel()

    def there_are(self, *credentials: Credential) -> None:
        """Have these credentials."""
        self._send.send_nowait(credentials)

    async def changes(self) -> AsyncIterator[tuple[Credential, ...]]:
        """Yield the sets."""
        async for one in self._receive:
            yield one

    async def make(self, _: Credential) -> Broker:
        """Open the account, where it is not down."""
        self.asked.set()
        if self.is_down:
            raise QueueUnavailable("down")
        return self.board

    @asynccontextmanager
    async def next_daemon(self) -> AsyncIterator[Machine]:
        """Run the next daemon, which ends when its runs have."""
        async with Machine.open(self.box, points=self.points) as machine:
            supply = machine.supplied(make=self.make, credentials=self.changes())
            async with self._send, self._receive, supply:
                with anyio.fail_after(PATIENCE):  # nobody is waited for: they come after it
                    adopted = await recover(machine.parts, supply)
                loop = Loop(machine.parts, supply)
                with anyio.fail_after(PATIENCE):
                    async with anyio.create_task_group() as group:
                        group.start_soon(loop.run, adopted)
                        yield machine
                        loop.drain()
            await machine.check_clean()

    def go(self) -> None:
        """Let the run end."""
        (self.box.root / "go").touch()


@pytest.fixture
async def left(tmp_path: Path) -> Left:
    """A run that was left."""
    left = Left(tmp_path)
    await left.leave()
    return left


def is_running(machine: Machine) -> bool:
    """Tell whether the run is looked after."""
    return [entry.stage for entry in machine.parts.board] == ["running"]


async def test_a_run_whose_credential_is_gone_finishes(left: Left) -> None:
    """Its message is left to expire, and nobody waits for a broker that will not come."""
    async with left.next_daemon() as machine:
        left.there_are()
        await seen(lambda: is_running(machine))
        left.go()
        await seen(lambda: machine.ends == ["completed"])
    assert left.line.settlements == []
    (claim,) = left.box.storage.glob("experiments/*/_claim.*")
    assert '"ended"' in claim.read_text()


async def test_a_credential_that_comes_back_brings_the_message_back(left: Left) -> None:
    """It is held again, and settled."""
    async with left.next_daemon() as machine:
        left.there_are()
        await seen(lambda: is_running(machine))
        left.there_are(CREDENTIAL)
        await seen(lambda: len(left.line.letters) == 2)
        left.go()
        await seen(lambda: machine.ends == ["completed"])
    assert left.line.settlements == ["ack"]


async def test_a_broker_that_is_down_at_the_start_is_asked_again(left: Left) -> None:
    """The daemon starts without it, looks after the run, and holds the message when it can."""
    left.is_down = True
    async with left.next_daemon() as machine:
        left.there_are(CREDENTIAL)
        await left.asked.wait()
        await seen(lambda: is_running(machine))
        assert len(left.line.letters) == 1
        left.is_down = False
        await seen(lambda: len(left.line.letters) == 2)
        left.go()
        await seen(lambda: machine.ends == ["completed"])
    assert left.line.settlements == ["ack"]


async def test_a_credential_removed_meanwhile_keeps_the_adopted_run_settled(left: Left) -> None:
    """The broker stays open for what it held before it was retired."""
    async with left.next_daemon() as machine:
        left.there_are(CREDENTIAL)
        await seen(lambda: len(left.line.letters) == 2)
        left.there_are()
        await seen(lambda: is_running(machine))
        left.go()
        await seen(lambda: machine.ends == ["completed"])
        await seen(lambda: not left.board.is_open)
    assert left.line.settlements == ["ack"]


async def test_a_message_that_came_back_meanwhile_meets_its_run(left: Left) -> None:
    """Its lease was lost while no daemon was there: the run holds what it is handed again."""
    left.line.expire()
    async with left.next_daemon() as machine:
        left.there_are(CREDENTIAL)
        await seen(lambda: is_running(machine))
        await seen(lambda: "m0" in left.line.held)
        left.go()
        await seen(lambda: machine.ends == ["completed"])
    assert left.line.settlements == ["ack"]
    assert machine.ends == ["completed"]


async def test_a_message_that_is_gone_leaves_the_run_alone(left: Left) -> None:
    """Nobody else can have it."""
    del left.line.held["m0"]

    async def gone(*_: object) -> None:
        raise MessageGone

    left.line.adopt = gone  # type: ignore[assignment,method-assign]
    async with left.next_daemon() as machine:
        left.there_are(CREDENTIAL)
        await seen(lambda: is_running(machine))
        left.go()
        await seen(lambda: machine.ends == ["completed"])
