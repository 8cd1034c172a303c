"""A run whose message is handed over to a fresh one, and what a crash between two steps leaves."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from runner.errors import LeaseLost, QueueDenied
from runner.lifecycle.board import Entry
from runner.lifecycle.handling import Handling
from runner.lifecycle.ownership.claim import Beating, Ended, Owner, Replaced
from runner.lifecycle.ownership.guard import Duty, duty
from runner.lifecycle.ownership.record import RecordedOutcome
from runner.lifecycle.runs import processes
from runner.lifecycle.sources.pulling import fresh_record
from runner.model import Cause, Message
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Letter, Line, Machine, Points, seen

pytestmark = pytest.mark.anyio

#: Tells outside how often it was started, and ends when it may.
SCRIPT = """
import os, pathlib, time
with open({times!r}, 'a') as file:
    file.write(f'{{os.getpid()}}\\n')
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
print('done')
"""
#: Renewed ten times a second.
LEASE = timedelta(seconds=0.3)
NOW = timedelta(0)


def reap() -> None:
    """Collect what was killed: after a restart of the daemon that is for init to do."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class NumberedPoints(Points):
    """Its moments are told apart by their number: ``extend 3``."""

    def __init__(self) -> None:
        super().__init__()
        self._times: Counter[str] = Counter()

    async def reach(self, name: str) -> None:
        """Do what the test wants here the n-th time."""
        self._times[name] += 1
        await super().reach(f"{name} {self._times[name]}")


class AgeingLetter(Letter):
    """A message that its broker lets nobody hold for ever."""

    is_old = False

    def __init__(self, message: Message, queue: AgeingLine, lease: timedelta) -> None:
        super().__init__(message, queue, lease)
        self._line = queue
        self._is_left = False
        self.token = f"{message.id}/{len(queue.letters)}"

    @property
    def is_ageing(self) -> bool:
        """It is so when a test says it."""
        return self.is_old

    async def send_on(self, mark: str) -> str:
        """Send the body once more."""
        await self._line.points.reach("send on")
        name = f"{self.message.id}+"
        while name in self._line.sent:
            name += "+"
        self._line.sent.append(name)
        self._line.put(Message(name, self.message.body, self._line.name, 1, mark))
        await self._line.points.reach("send on done")
        return name

    async def leave(self) -> None:
        """Forget it."""
        await self._line.points.reach("leave")
        with suppress(LeaseLost):
            self._check()
            del self._line.held[self.message.id]
            self.settled.append("left")
        self._is_left, self.is_old, self.token = True, False, "left"
        await self._line.points.reach("leave done")

    async def extend(self) -> None:
        """Keep it, if there is something to keep."""
        if not self._is_left:
            await super().extend()


class AgeingLine(Line):
    """A queue of such messages."""

    def __init__(self, points: Points) -> None:
        super().__init__("local_test", points)
        self.lease = LEASE
        #: Ids of the messages that runners sent.
        self.sent: list[str] = []

    def _hand_out(self, message: Message) -> Letter:
        letter = self.held[message.id] = AgeingLetter(message, self, self.lease)
        self.letters.append(letter)
        return letter

    async def adopt(self, message: Message, token: str) -> Letter:
        """Also what nobody holds, because a fresh one stands for it, can be had again."""
        if token == "left":
            letter = AgeingLetter(message, self, self.lease)
            await letter.leave()
            return letter
        return await super().adopt(message, token)


class Scene:
    """One experiment that takes as long as the test wants, on one host or two."""

    def __init__(self, root: Path) -> None:
        self.box = Box(root)
        self.points = NumberedPoints()
        self.queue = AgeingLine(self.points)
        times, self.go = root / "times", root / "go"
        self.times = times
        self.message: Json = self.box.message(SCRIPT.format(times=str(times), go=str(self.go)))
        self.key = str(self.message["experiment"]["key"])

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[Machine]:
        """Return a daemon of this host."""
        lease = timedelta(seconds=1.5)
        async with Machine.open(
            self.box, points=self.points, queue=self.queue, claim_lease=lease
        ) as machine:
            yield machine

    @property
    def pids(self) -> list[int]:
        """The processes that the experiment was started in."""
        return list(map(int, self.times.read_text().split())) if self.times.exists() else []

    @property
    def last(self) -> AgeingLetter:
        """The letter that was handed out last."""
        letter = self.queue.letters[-1]
        assert isinstance(letter, AgeingLetter)
        return letter

    @property
    def claim(self) -> Json:
        """The claim record."""
        claim = self.box.claim(self.key)
        assert claim is not None
        return claim

    def lose_host(self) -> None:
        """Forget the state, and have the claim's lease end soon."""
        self.box.state.rename(self.box.root / "gone")
        (file,) = self.box.storage.glob("experiments/*/_claim.*")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"lease": 0.6}))

    async def received(self, machine: Machine) -> Handling:
        """Return what is to handle the next message."""
        letter = await self.queue.receive()
        return Handling(machine.parts, letter, Entry(fresh_record(self.queue, letter)))

    @asynccontextmanager
    async def ageing(self, machine: Machine) -> AsyncIterator[tuple[TaskGroup, Letter]]:
        """Have the experiment run there, under a message that has just begun to age.

        Yields what it runs in, and that message; ends with it.
        """
        handling, letter = await machine.handling(self.message)
        slot = await machine.parts.intake.slot()
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, slot)
            await seen(lambda: self.pids)
            self.last.is_old = True
            yield group, letter

    async def served(self, machine: Machine) -> None:
        """Handle whatever comes, until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                handling = await self.received(machine)
                group.start_soon(handling.perform, await machine.parts.intake.slot())

    async def check_end(self, *, runs: int) -> None:
        """See that all is over: ended once, and no message is left anywhere."""
        await seen(lambda: not self.queue.held and not self.queue.waiting)
        assert (self.claim["state"], self.claim["outcome"]["cause"]) == ("ended", "completed")
        assert len(self.pids) == runs
        assert self.box.output(self.key).count("done\n") == 1


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    """An experiment that waits."""
    return Scene(tmp_path)


OWNER = Owner("host", "daemon", "run")
OVER = RecordedOutcome("completed", 0, "")
SAID: dict[str, tuple[Beating | Ended | Replaced | None, Duty]] = {
    "another message stands for it": (Replaced(), Duty.DELETE),
    "it has ended": (Ended(1, OVER, buried=False), Duty.DELETE),
    "it has ended and is to be buried": (Ended(1, OVER, buried=True), Duty.GIVE_BACK),
    "somebody works on it": (Beating(NOW, OWNER, is_carrier=True), Duty.KEEP),
    "it is a duplicate": (Beating(NOW, OWNER), Duty.GIVE_BACK),
    "nobody works on it": (None, Duty.GIVE_BACK),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_done_with_a_message_that_is_kept_follows_from_the_record(case: str) -> None:
    """It is kept only for as long as it is what is left of a living attempt."""
    said, expected = SAID[case]
    assert duty(said) is expected


async def test_an_ageing_message_is_handed_over_again_and_again(scene: Scene) -> None:
    """The run goes on, its messages change, each with the body unchanged; all are settled once."""
    with anyio.fail_after(PATIENCE):
        async with scene.machine() as machine, anyio.create_task_group() as group:
            scene.queue.send(scene.message)
            group.start_soon(scene.served, machine)
            await seen(lambda: scene.pids)
            for number in range(1, 4):
                (entry,) = machine.parts.board
                scene.last.is_old = True
                # It comes to the daemon that sent it, which holds it from then on.
                await seen(lambda n=number: len(scene.queue.letters) == n + 1)  # type: ignore[misc]
                await seen(lambda e=entry: e.record.message == scene.last.message)  # type: ignore[misc]
                await seen(lambda: list(scene.queue.held) == [scene.last.message.id])
            scene.go.touch()
            await seen(lambda: machine.ends == ["completed"])
            await scene.check_end(runs=1)
            group.cancel_scope.cancel()
        *before, last = scene.queue.settlements
        assert (len(before), last) == (3, "ack")
        # The fresh one may come back before the last step, which is done by its attaching then.
        assert set(before) <= {"left", "ack"}
    assert {letter.message.body for letter in scene.queue.letters} == {
        json.dumps(scene.message).encode()
    }
    assert scene.claim["message"] == scene.last.message.id
    assert scene.claim["replaced"] == [one.message.id for one in scene.queue.letters[:-1]]


async def test_a_message_that_nobody_takes_is_no_loss(scene: Scene) -> None:
    """The daemon has no room to receive: the run ends, and who comes later finds it over."""
    with anyio.fail_after(PATIENCE):
        async with scene.machine() as machine:
            async with scene.ageing(machine) as (_, letter):
                await seen(lambda: letter.settled == ["left"])
                scene.last.is_old = True  # the fresh one ages as well, held or not
                await seen(lambda: len(scene.queue.sent) == 2)
                await seen(lambda: len(scene.claim["replaced"]) == 2)
                scene.go.touch()
            assert machine.ends == ["completed"]
            await machine.check_clean()
            while scene.queue.waiting:
                await machine.handle()
            assert machine.ends == ["completed", "not-ours", "not-ours"]
            await scene.check_end(runs=1)


async def test_a_broker_that_takes_no_message_costs_no_lease(scene: Scene) -> None:
    """Without the right to send, the message is held as before, and it is tried again."""
    denied = [QueueDenied("allow sqs:SendMessage")] * 3
    with anyio.fail_after(PATIENCE):
        async with scene.machine() as machine:
            for number, error in enumerate(denied, start=1):
                scene.points.raises(f"send on {number}", error)
            async with scene.ageing(machine) as (_, letter):
                await seen(lambda: letter.settled == ["left"])
                scene.go.touch()
            assert scene.points.until("send on done 1") == ["send on done 1"]
            await machine.handle()
            await scene.check_end(runs=1)


async def test_what_ends_unheld_is_buried_by_whoever_gets_it(scene: Scene) -> None:
    """The record remembers that it is to be buried, since no message was there for that."""
    scene.message["config"]["runner"] = {"max_attempts": 1}
    with anyio.fail_after(PATIENCE):
        async with scene.machine() as machine:
            async with scene.ageing(machine) as (_, letter):
                await seen(lambda: letter.settled == ["left"])
                scene.points.acts["store output 1"] = fail
                scene.go.touch()
            assert (scene.claim["buried"], scene.claim["burying"]) == (True, True)
            await machine.handle()
            assert scene.queue.settlements == ["left", "bury"]
            assert (scene.claim["buried"], scene.claim["burying"]) == (True, False)
            assert len(scene.pids) == 1


async def test_a_message_that_a_runner_sent_reopens_nothing(scene: Scene) -> None:
    """Only who takes a letter out of the dead ones wants another attempt: that one has no mark."""
    scene.message["config"]["runner"] = {"max_attempts": 1}
    scene.points.raises("build 1", ZeroDivisionError("a defect"))
    async with scene.machine() as machine:
        assert (await machine.handle(scene.message)).settled == ["bury"]
        body = json.dumps(scene.message).encode()
        scene.queue.put(Message("sent twice", body, "local_test", 1, "some run"))
        assert (await machine.handle()).settled == ["ack"]
        assert machine.ends == ["internal", "not-ours"]
        await machine.check_clean()


async def fail() -> None:
    """Be a defect."""
    raise ZeroDivisionError("a defect")


# --------------------------------------------------------------------- faults

#: Between any two steps, and inside each: what is asked for has happened, and nobody heard of it.
FAULT_POINTS = {
    "before anything": "put claim again 1",
    "the claim is confirmed": "put claim again done 1",
    "before the fresh message is sent": "send on 1",
    "the fresh message is sent": "send on done 1",
    "before the record names it": "put claim again 2",
    "the record names it": "put claim again done 2",
    "before the old message is deleted": "leave 1",
    "the old message is deleted": "leave done 1",
}


@pytest.fixture(params=FAULT_POINTS.values(), ids=list(FAULT_POINTS))
async def crashed(scene: Scene, request: pytest.FixtureRequest) -> Scene:
    """A daemon that died at this point, with its run going on."""
    reached = scene.points.holds(request.param)
    with anyio.fail_after(PATIENCE):
        # Claims are renewed too rarely to be mistaken for the hand-over's own writing.
        async with (
            Machine.open(scene.box, points=scene.points, queue=scene.queue) as machine,
            scene.ageing(machine) as (group, _),
        ):
            await seen(reached.is_set)
            group.cancel_scope.cancel()
    scene.points.acts.clear()
    return scene


async def test_wherever_the_daemon_dies_its_run_goes_on(crashed: Scene) -> None:
    """The next daemon adopts it, hands over if that is due, and all messages end with it."""
    crashed.queue.expire()
    with anyio.fail_after(PATIENCE):
        async with crashed.machine() as machine, anyio.create_task_group() as group:
            for handling in await machine.adopted():
                group.start_soon(handling.resume)
            group.start_soon(crashed.served, machine)
            await seen(lambda: not crashed.queue.waiting)
            await seen(lambda: [entry.stage for entry in machine.parts.board] == ["running"])
            crashed.go.touch()
            await seen(lambda: "completed" in machine.ends)
            await crashed.check_end(runs=1)
            group.cancel_scope.cancel()
        assert machine.ends.count("completed") == 1


async def test_wherever_the_whole_host_dies_another_one_begins_anew(crashed: Scene) -> None:
    """One message is enough for it, and two are not one too many: one attempt, at one time."""
    (run,) = [place.name for place in (crashed.box.state / "runs").iterdir()]
    await processes.end(run)
    reap()
    crashed.lose_host()
    crashed.queue.expire()
    with anyio.fail_after(PATIENCE):
        async with crashed.machine() as machine, anyio.create_task_group() as group:
            group.start_soon(crashed.served, machine)
            await seen(lambda: len(crashed.pids) == 2)
            crashed.go.touch()
            await seen(lambda: "completed" in machine.ends)
            await crashed.check_end(runs=2)
            group.cancel_scope.cancel()
        assert machine.ends.count("completed") == 1
    assert crashed.claim["attempt"] == 2


# --------------------------------------------------------------------- guards


@asynccontextmanager
async def kept_elsewhere(scene: Scene) -> AsyncIterator[tuple[Machine, Machine, AgeingLetter]]:
    """A run of one daemon, and the fresh message with another one; yield both, and that."""
    there = Box(scene.box.root / "there")
    with anyio.fail_after(PATIENCE):
        async with (
            scene.machine() as here,
            Machine.open(there, points=scene.points, queue=scene.queue) as other,
        ):
            # One store for both.
            other.parts = replace(other.parts, store_for=here.parts.store_for)
            async with scene.ageing(here) as (_, letter):
                await seen(lambda: letter.settled == ["left"])
                guarding = await scene.received(other)
                kept = scene.last
                await guarding.perform(await other.parts.intake.slot())
                yield here, other, kept
                scene.go.touch()


async def test_another_runner_keeps_the_message_and_takes_no_room_for_it(scene: Scene) -> None:
    """It is received once, however long the run takes, and deleted after its end."""
    async with kept_elsewhere(scene) as (here, other, kept):
        assert other.ledger.free == other.ledger.total
        assert len(other.parts.board) == 0
        assert list(other.parts.records.directory.iterdir()) == []
        assert other.ledger.free == other.ledger.total
        assert len(other.parts.board) == 0
        assert list(other.parts.records.directory.iterdir()) == []
        await anyio.sleep(4 * LEASE.total_seconds())
        assert kept.settled == []
        assert not scene.queue.waiting
        scene.go.touch()
        await seen(lambda: here.ends == ["completed"])
        await seen(lambda: kept.settled == ["ack"])
    await scene.check_end(runs=1)
    assert len(scene.queue.letters) == 2


async def test_a_runner_that_drains_gives_back_at_once_what_it_keeps(scene: Scene) -> None:
    """It waits for no run of others."""
    async with kept_elsewhere(scene) as (_, other, kept):
        other.parts.intake.close()
        await other.parts.guards.until_none()
        assert kept.settled == ["release"]
        assert [one.id for one in scene.queue.waiting] == [kept.message.id]


async def test_the_next_hand_over_relieves_who_keeps_the_message(scene: Scene) -> None:
    """Long before the kept one is too old itself, another one stands for the run."""
    async with kept_elsewhere(scene) as (_, other, kept):
        first = scene.queue.letters[0]
        assert isinstance(first, AgeingLetter)
        first.is_old = True
        await seen(lambda: kept.settled == ["ack"])
        await other.parts.guards.until_none()
        assert [one.mark for one in scene.queue.waiting] == [kept.message.mark]


async def test_what_its_runner_gives_up_is_everybodys(scene: Scene) -> None:
    """Drained with no message in hand, the run's message is in the hands of the other."""
    async with kept_elsewhere(scene) as (here, _, kept):
        for entry in here.parts.board:
            entry.stopper.stop(Cause.DRAINED)
        await seen(lambda: kept.settled == ["release"])
        assert scene.claim["state"] == "released"
