"""Brokers come and go with their credentials while experiments run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import Misconfigured, QueueDenied, QueueUnavailable
from runner.lifecycle.loop import Loop
from runner.model import News
from runner.queues.base import Broker
from runner.queues.credential import AwsCredential, Credential
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Line, Machine, Switchboard, seen

pytestmark = pytest.mark.anyio

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""


class World:
    """Credentials that a test puts down and takes away, and what they open."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.boards: dict[str, Switchboard] = {}
        self.trouble: list[Exception] = []
        self.refused: list[Credential] = []
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Credential, ...]](99)

    async def changes(self) -> AsyncIterator[tuple[Credential, ...]]:
        """Yield the sets."""
        async for one in self._receive:
            yield one

    def there_are(self, *credentials: Credential) -> None:
        """Have exactly these from now on."""
        self._send.send_nowait(credentials)

    async def make(self, credential: Credential) -> Broker:
        """Open the account."""
        if self.trouble:
            raise self.trouble.pop(0)
        return self.boards[credential.scope]

    def account(self, scope: str, *queues: str) -> Line:
        """Have an account with queues; return the first."""
        points = self.machine.points
        lines = [Line(name, points, broker="sqs", project=scope) for name in queues]
        board = self.boards[scope] = Switchboard(*lines)
        board.name, board.project = "sqs", scope
        return lines[0]

    @asynccontextmanager
    async def serving(self, apart: float = 60.0) -> AsyncIterator[Loop]:
        """Run the daemon's loop over these credentials; the block ends it."""
        supply = self.machine.supplied(
            make=self.make, credentials=self.changes(), refused=self.refused.append
        )
        async with self._send, self._receive, supply:
            loop = Loop(self.machine.parts, supply, apart=timedelta(seconds=apart))
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as group:
                    group.start_soon(loop.run)
                    yield loop
                    loop.drain()

    def send(self, line: Line, script: str = "print('x')") -> str:
        """Send an experiment and return its key."""
        message = self.machine.box.message(script)
        line.send(message)
        return str(message["experiment"]["key"])

    def waits_for_go(self) -> str:
        """Return a script that ends when the test says so."""
        return GO.format(go=str(self.machine.box.root / "go"))

    def go(self) -> None:
        """Say so."""
        (self.machine.box.root / "go").touch()

    async def begun(self) -> None:
        """Wait until a script has begun."""
        await seen(lambda: "begun" in self.machine.box.live_output())

    async def long_run(self, line: Line) -> None:
        """Bring the credential, and have an experiment run that ends when the test says so."""
        self.there_are(credential())
        self.send(line, self.waits_for_go())
        await self.begun()

    def said(self, word: str) -> list[str]:
        """Return the news with this word in it."""
        return [one.text for one in self.machine.reports if word in one.text]


def credential(
    scope: str = "a", fingerprint: str = "1", *, queues: tuple[str, ...] = ()
) -> Credential:
    """Return a credential."""
    return Credential(
        broker="sqs", scope=scope, origin=f"{scope}.key", fingerprint=fingerprint, queues=queues
    )


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts, with room for two."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


@pytest.fixture
def world(machine: Machine) -> World:
    """A world without credentials."""
    return World(machine)


async def test_work_starts_with_its_credential_and_ends_with_it(world: World) -> None:
    """Before it comes and after it has gone nothing is received; nothing else is disturbed."""
    line = world.account("a", "sqs_one")
    async with world.serving() as loop:
        world.there_are()
        world.send(line)
        world.there_are(credential())
        await seen(lambda: world.machine.ends == ["completed"])
        world.there_are()
        await seen(lambda: not world.boards["a"].is_open)
        world.send(line)
        assert not loop.queues
    assert len(line.waiting) == 1
    assert world.machine.ends == ["completed"]
    await world.machine.check_clean()


async def test_a_run_outlives_its_credential_and_is_settled(world: World) -> None:
    """The broker stays open for it, receives nothing more, and is closed behind it."""
    line = world.account("a", "sqs_one")
    async with world.serving() as loop:
        await world.long_run(line)
        world.there_are()
        await seen(lambda: not loop.queues)
        world.send(line)
        assert world.boards["a"].is_open
        world.go()
        await seen(lambda: not world.boards["a"].is_open)
    assert line.settlements == ["ack"]
    assert len(line.waiting) == 1
    await world.machine.check_clean()


async def test_a_credential_that_comes_back_in_time_is_taken_up_again(world: World) -> None:
    """What was held all along is still held, and receiving goes on with the same broker."""
    line = world.account("a", "sqs_one")
    async with world.serving() as loop:
        await world.long_run(line)
        world.there_are()
        await seen(lambda: not loop.queues)
        world.there_are(credential(fingerprint="2"))
        await seen(lambda: loop.queues)
        world.send(line)
        await seen(lambda: world.machine.ends == ["completed"])
        world.go()
        await seen(lambda: world.machine.ends == ["completed"] * 2)
    assert [one.fingerprint for one in world.boards["a"].renewals] == ["2"]
    assert line.settlements == ["ack", "ack"]
    await world.machine.check_clean()


async def test_a_rotation_disturbs_nobody(world: World) -> None:
    """What is held stays held, and the open receive is the same as before."""
    line = world.account("a", "sqs_one")
    line.tells = False
    async with world.serving() as loop:
        await world.long_run(line)
        await seen(lambda: world.machine.points.passed.count("receive") == 2)
        world.there_are(credential(fingerprint="2"))
        await seen(lambda: world.boards["a"].renewals)
        world.send(line)
        await seen(lambda: world.machine.ends == ["completed"])
        assert world.machine.points.passed.count("receive") <= 3
        world.go()
        await seen(lambda: world.machine.ends == ["completed"] * 2)
        loop.drain()
        world.send(line)
    assert line.settlements == ["ack", "ack", "release"]


async def test_another_region_is_opened_when_the_first_is_closed(world: World) -> None:
    """A message is settled where it was received, never with the other region's client."""
    line = world.account("a", "sqs_one")
    world.send(line, world.waits_for_go())
    here, there = (
        AwsCredential(broker="sqs", scope="a", origin="o", fingerprint=region, region=region)
        for region in ("us-west-2", "eu-west-1")
    )
    async with world.serving() as loop:
        world.there_are(here)
        await world.begun()
        world.there_are()
        world.there_are(there)
        await seen(lambda: not loop.queues)
        first, other = world.boards["a"], world.account("a", "sqs_other")
        world.send(other)
        world.go()
        await seen(lambda: world.machine.ends == ["completed"] * 2)
    assert not first.renewals
    assert not first.is_open
    assert line.settlements == other.settlements == ["ack"]


async def test_one_queue_of_two_credentials_is_pulled_once(world: World) -> None:
    """When the first goes the other takes over."""
    line = world.account("a", "sqs_one")
    world.boards["b"] = Switchboard(line)
    world.boards["b"].name, world.boards["b"].project = "sqs", "b"
    async with world.serving() as loop:
        world.there_are(credential("a"), credential("b"))
        await seen(lambda: len([one for one in loop.supply if one.is_serving]) == 2)
        await seen(lambda: len(world.said("queues of")) == 2)
        assert list(loop.queues) == ["sqs:a/sqs_one"]
        world.there_are(credential("b"))
        await seen(lambda: not world.boards["a"].is_open)
        await seen(lambda: loop.queues)
        world.send(line)
        await seen(lambda: world.machine.ends == ["completed"])
        assert world.boards["b"].is_open
    assert line.settlements == ["ack"]


async def test_a_message_that_comes_after_the_credential_has_gone_goes_back(world: World) -> None:
    """The open poll is not cut off, and what it brings is given back at once."""
    line = world.account("a", "sqs_one")
    line.tells = False
    async with world.serving() as loop:
        world.there_are(credential())
        await seen(lambda: "receive" in world.machine.points.passed)
        world.there_are()
        await seen(lambda: not [one for one in loop.supply if one.is_serving])
        assert world.boards["a"].is_open
        world.send(line)
        await seen(lambda: not world.boards["a"].is_open)
    assert line.settlements == ["release"]
    assert line.letters[0].delay == timedelta(0)
    assert world.machine.ends == []
    await world.machine.check_clean()


@pytest.mark.parametrize(
    "trouble",
    [
        Misconfigured("pip install 'studio-runner[aws]'"),
        QueueDenied("sqs:ListQueues is missing"),
        QueueUnavailable("nobody answers"),
        ZeroDivisionError("a defect"),
    ],
)
async def test_a_broker_in_trouble_is_said_once_and_stops_nobody(
    world: World, trouble: Exception
) -> None:
    """The others work on; another secret is tried at once."""
    world.account("a", "sqs_one")
    other = world.account("b", "sqs_two")
    world.boards["a"].trouble = [trouble] * 99
    async with world.serving():
        world.there_are(credential("a"), credential("b"))
        world.send(other)
        await seen(lambda: world.machine.ends == ["completed"])
        await seen(lambda: world.said("a.key"))
        world.there_are(credential("a", "2"), credential("b"))
        await seen(lambda: len(world.boards["a"].trouble) <= 97)
        assert len(world.said(str(trouble))) == 1
        world.boards["a"].trouble.clear()
    assert [one.scope for one in world.refused] == ["a"] * isinstance(trouble, QueueDenied)


async def test_a_broker_that_cannot_be_made_is_made_later(world: World) -> None:
    """Its package may be installed, or its server come up; a new credential is tried at once."""
    line = world.account("a", "sqs_one")
    world.trouble = [Misconfigured("no package")]
    async with world.serving():
        world.there_are(credential())
        await seen(lambda: world.said("no package"))
        world.send(line)
        world.there_are(credential(fingerprint="2"))
        await seen(lambda: world.machine.ends == ["completed"])


async def test_a_credential_of_which_nothing_is_taken_says_so_once(world: World) -> None:
    """With some of the names, and the options that take them."""
    world.account("a", "sqs_one")
    board = world.boards["a"]
    board.change()
    board.left = frozenset(f"other{number:02}" for number in range(40))
    async with world.serving(apart=0.1):
        world.there_are(credential())
        await seen(lambda: world.said("none of them is taken"))
        await anyio.sleep(0.2)
        (text,) = world.said("none of them is taken")
        expected = ("40 sqs queues", "other00", "30 more", "--queue-match", "--queue ", "'queues'")
        assert [word for word in expected if word not in text] == []
        assert "other20" not in text
        board.left = frozenset({"theirs"})
        await seen(lambda: len(world.said("none of them is taken")) == 2)


async def test_strangers_set_a_queue_aside_until_the_credential_names_it(world: World) -> None:
    """Three are touched and no more; a ``queues`` file beside the credential takes it again."""
    line = world.account("a", "sqs_one")
    for _ in range(5):
        line.send(b'{"what": "ever"}')
    async with world.serving() as loop:
        world.there_are(credential())
        await seen(lambda: world.said("set aside"))
        await seen(lambda: not loop.queues)
        assert len(line.letters) == 3
        world.there_are(credential(fingerprint="2", queues=("https://sqs.x/123/sqs_one",)))
        await seen(lambda: len(line.letters) > 3)
        line.waiting.clear()
    assert {delay for letter in line.letters[:3] if (delay := letter.delay)} == {
        world.machine.parts.options.retry.longest_delay
    }


# ----------------------------------------------------------------------------- deleted queues


async def test_a_deleted_queue_stops_its_experiments(world: World) -> None:
    """That is how clients cancel; other queues of the account go on."""
    line = world.account("a", "sqs_one", "sqs_two")
    board = world.boards["a"]
    async with world.serving(apart=0.2):
        await world.long_run(line)
        board.change(*[one for one in board.lines.values() if one is not line])
        await seen(lambda: world.machine.ends)
    assert world.machine.ends == ["cancelled"]
    (text,) = [one.text for one in world.machine.reports if one.news is News.ENDED]
    assert "its queue sqs_one was deleted" in text
    assert set(board.asked) == {"sqs_one"}
    assert len(board.asked) >= 3
    await world.machine.check_clean()


@pytest.mark.parametrize("silence", [QueueUnavailable("down"), QueueDenied("403")])
async def test_a_queue_that_nobody_can_ask_for_was_not_deleted(
    world: World, silence: Exception
) -> None:
    """An outage, a refusal; a no that comes afterwards proves nothing, it may have forgotten."""
    line = world.account("a", "sqs_one")
    board = world.boards["a"]
    board.silence = silence
    async with world.serving(apart=0.05):
        await world.long_run(line)
        board.change()
        await seen(lambda: len(board.asked) > 8)
        board.silence = None
        asked = len(board.asked)
        await seen(lambda: len(board.asked) > asked + 8)
        world.go()
        await seen(lambda: world.machine.ends)
    assert world.machine.ends == ["completed"]


async def test_an_outage_while_a_queue_vanishes_is_no_deletion(world: World) -> None:
    """A broker that was restarted without its queue: the run finishes and uploads."""
    line = world.account("a", "sqs_one")
    board = world.boards["a"]
    async with world.serving(apart=0.05):
        await world.long_run(line)
        board.trouble.append(QueueUnavailable("restarting"))
        board.change()
        await seen(lambda: len(board.asked) > 8)
        world.go()
        await seen(lambda: world.machine.ends)
    assert world.machine.ends == ["completed"]


async def test_a_removed_credential_deletes_no_queue(world: World) -> None:
    """Nobody is asked about its queues any more."""
    line = world.account("a", "sqs_one")
    board = world.boards["a"]
    async with world.serving(apart=0.05) as loop:
        await world.long_run(line)
        world.there_are()
        await seen(lambda: not loop.queues)
        board.change()
        asked = len(board.asked)
        await anyio.sleep(0.2)
        assert len(board.asked) == asked
        world.go()
        await seen(lambda: world.machine.ends)
    assert world.machine.ends == ["completed"]
