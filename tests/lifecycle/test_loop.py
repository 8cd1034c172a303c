"""The loop takes what there is room for, from every queue in turn, and ends in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import QueueUnavailable
from runner.lifecycle.claiming.intake import LEAST
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.loop import Ends, Loop
from runner.lifecycle.sources.pulling import Hint
from runner.model import Bytes, Gpu, Message, Needs, News
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, TOTAL, Letter, Line, Machine, Switchboard, seen

pytestmark = pytest.mark.anyio

LONG = "import time; print('begun', flush=True); time.sleep(1000)"
GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts, with room for two."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts, with room for one."""
    async with Machine.open(Box(tmp_path), total=replace(TOTAL, cores=1)) as machine:
        yield machine


@asynccontextmanager
async def looping(
    machine: Machine, ends: Ends | None = None, broker: Switchboard | None = None
) -> AsyncIterator[Loop]:
    """Run a loop beside the block and wait for its end."""
    async with machine.supplied(broker or Switchboard(machine.queue)) as supply:
        loop = Loop(machine.parts, supply, ends or Ends())
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(loop.run)
                yield loop


def send(machine: Machine, script: str = "print('x')", queue: Line | None = None) -> str:
    """Send an experiment and return its key."""
    message = machine.box.message(script)
    (queue or machine.queue).send(message)
    return str(message["experiment"]["key"])


def waits_for_go(machine: Machine) -> str:
    """Return a script that ends when the test says so."""
    return GO.format(go=str(machine.box.root / "go"))


def go(machine: Machine) -> None:
    """Say so."""
    (machine.box.root / "go").touch()


async def begun(machine: Machine, count: int = 1) -> None:
    """Wait until so many scripts have begun."""
    await seen(lambda: machine.box.live_output().count("begun") == count)


async def test_a_drain_receives_nothing_more_and_lets_runs_end(machine: Machine) -> None:
    """What runs is finished and stored; what is sent after that waits for another runner."""
    send(machine, waits_for_go(machine))
    async with looping(machine) as loop:
        await begun(machine)
        loop.drain()
        send(machine)
        go(machine)
    assert machine.ends == ["completed"]
    assert len(machine.queue.waiting) == 1
    await machine.check_clean()


async def test_an_idle_loop_drains_at_once(machine: Machine) -> None:
    """A receive that is open ends by itself, and holds neither message nor room afterwards."""
    machine.queue.tells, machine.queue.patience = False, 0.2
    async with looping(machine) as loop:
        await seen(lambda: "receive" in machine.points.passed)
        loop.drain()
    await machine.check_clean()


async def test_a_second_drain_stops_what_runs(machine: Machine) -> None:
    """The message is given back at once and not counted."""
    send(machine, LONG)
    async with looping(machine) as loop:
        await begun(machine)
        loop.drain()
        loop.drain()
    assert machine.ends == ["drained"]
    assert machine.queue.settlements == ["release"]
    await machine.check_clean()


class Forgetful(Line):
    """One whose broker does not know of a poll that it was cut off, and hands a message to it."""

    cut_off = 0

    async def receive(self) -> Letter:
        """Hand out the oldest."""
        try:
            return await super().receive()
        except anyio.get_cancelled_exc_class():
            self.cut_off += 1
            raise

    def put(self, message: Message) -> None:
        """Add a message, which is hidden where nobody waits who was waiting."""
        if not self.cut_off:
            super().put(message)


async def test_what_a_stop_gives_back_is_handed_to_no_poll_that_was_cut_off(
    machine: Machine,
) -> None:
    """A poll that is still open gets it, and gives it back: so it is there for others at once."""
    queue = Forgetful(machine.queue.name, machine.points)
    queue.tells = False
    send(machine, LONG, queue)
    async with looping(machine, broker=Switchboard(queue)) as loop:
        await begun(machine)
        await seen(lambda: machine.points.passed.count("receive") == 2)
        loop.drain()
        loop.drain()
    assert queue.settlements == ["release", "release"]
    assert len(queue.waiting) == 1


async def test_a_drain_ends_with_the_grace(machine: Machine) -> None:
    """What has not finished by then is stopped."""
    send(machine, LONG)
    async with looping(machine, Ends(grace=timedelta(seconds=0.05))) as loop:
        await begun(machine)
        loop.drain()
    assert machine.ends == ["drained"]
    await machine.check_clean()


async def test_a_drain_gives_back_what_has_no_room_yet(machine: Machine) -> None:
    """A message in hand that waits for room would only start to be stopped."""
    send(machine, waits_for_go(machine))
    message = machine.box.message("print('big')")
    message["experiment"]["resources_needed"]["cpus"] = 2
    async with looping(machine) as loop:
        await begun(machine)
        machine.queue.send(message)
        await seen(lambda: "waiting for room" in [e.stage for e in machine.parts.board])
        loop.drain()
        await seen(lambda: machine.queue.settlements)
        go(machine)
    assert machine.ends == ["no-room", "completed"]
    await machine.check_clean()


async def test_no_more_attempts_are_begun_than_the_limit(machine: Machine) -> None:
    """With room for two and a limit of one, the second message is left alone."""
    for _ in range(3):
        send(machine)
    async with looping(machine, Ends(tasks=1)):
        pass
    assert machine.ends == ["completed"]
    assert len(machine.queue.waiting) == 2
    await machine.check_clean()


async def test_what_is_refused_is_no_attempt(machine: Machine) -> None:
    """The limit counts what was tried, not what was looked at."""
    machine.queue.send(b'{"experiment": {}}')
    send(machine)
    async with looping(machine, Ends(tasks=1)):
        pass
    assert sorted(machine.ends) == ["bad-request", "completed"]
    await machine.check_clean()


async def test_the_daemon_ends_when_it_has_been_idle(machine: Machine) -> None:
    """Idle means that nothing runs: a long run does not end it, what comes after it does."""
    send(machine, "import time; time.sleep(0.3)")
    async with looping(machine, Ends(idle=timedelta(seconds=0.1))):
        pass
    assert machine.ends == ["completed"]
    await machine.check_clean()


async def test_a_queue_that_does_not_answer_is_tried_again(machine: Machine) -> None:
    """Trouble with a broker only makes us wait, and costs no room."""
    machine.points.raises("receive", QueueUnavailable("away"))
    send(machine)
    broker = Switchboard(machine.queue)
    broker.trouble.append(QueueUnavailable("away"))
    async with looping(machine, Ends(tasks=1), broker):
        pass
    assert machine.ends == ["completed"]
    await machine.check_clean()


async def test_three_strangers_set_a_queue_aside(machine: Machine) -> None:
    """They are given back, said once, and the fourth message is not even taken."""
    for _ in range(4):
        machine.queue.send(b'{"what": "ever"}')
    other = Line("local_other", machine.points)
    async with looping(machine, broker=Switchboard(machine.queue, other)) as loop:
        await seen(lambda: any("set aside" in report.text for report in machine.reports))
        send(machine, queue=other)
        await seen(lambda: "completed" in machine.ends)
        loop.drain()
    assert machine.ends == ["not-a-request"] * 3 + ["completed"]
    assert machine.queue.settlements == ["release"] * 3
    await machine.check_clean()


async def test_a_queue_that_vanishes_costs_no_run(machine: Machine) -> None:
    """What was taken from it is finished; it is followed again when it is back."""
    broker = Switchboard(machine.queue)
    send(machine, waits_for_go(machine))
    async with looping(machine, broker=broker) as loop:
        await begun(machine)
        broker.change()
        await seen(lambda: not loop.queues)
        go(machine)
        await seen(lambda: machine.ends == ["completed"])
        broker.change(machine.queue)
        send(machine)
        await seen(lambda: machine.ends == ["completed"] * 2)
        loop.drain()
    await machine.check_clean()


async def test_two_queues_share_one_core_in_turn(small: Machine) -> None:
    """A long queue does not keep a short one waiting."""
    other = Line("local_other", small.points)
    for _ in range(4):
        send(small)
        send(small, queue=other)
    async with looping(small, Ends(tasks=8), Switchboard(small.queue, other)):
        pass
    queues = [one.queue for one in small.reports if one.news is News.ENDED]
    assert all(queues[i] != queues[i + 1] for i in range(7))
    await small.check_clean()


@pytest.mark.parametrize("staged", [0, 1])
async def test_messages_that_wait_for_a_card_are_received_once(tmp_path: Path, staged: int) -> None:
    """However many cores are free: the next is asked for when there is a use for it."""
    total = replace(TOTAL, cores=16, gpus=(Gpu("GPU-0", "NVIDIA L4", Bytes(1 << 30)),))
    async with Machine.open(Box(tmp_path), total=total, rules=Rules(staged=staged)) as machine:
        for _ in range(5):
            message = machine.box.message("print('x')")
            message["experiment"]["resources_needed"] |= {"gpus": 1, "gpuCount": 1}
            machine.queue.send(message)
        async with looping(machine) as loop:
            await seen(lambda: len(machine.ends) == 5)
            loop.drain()
        assert machine.ends == ["completed"] * 5
        assert [letter.message.receive_count for letter in machine.queue.letters] == [1] * 5
        await machine.check_clean()


async def test_cancelling_the_loop_settles_nothing(machine: Machine) -> None:
    """The daemon leaves; the run is the next one's."""
    send(machine, waits_for_go(machine))
    loop = Loop(machine.parts, machine.supply)
    async with anyio.create_task_group() as group:
        group.start_soon(loop.run)
        await begun(machine)
        group.cancel_scope.cancel()
    assert machine.queue.settlements == []
    async with Machine.open(machine.box, points=machine.points, queue=machine.queue) as second:
        adopted = await second.adopted()
        assert second.ledger.free.cores == 1
        loop = Loop(second.parts, second.supply, Ends(tasks=1))
        async with anyio.create_task_group() as group:
            group.start_soon(loop.run, adopted)
            go(machine)
        assert second.ends == ["completed"]
        await second.check_clean()


def test_a_hint_ages_longer_each_time() -> None:
    """What a queue's last message needed is believed for 30 s, then a minute, to 5 minutes."""
    now = [0.0]
    hint = Hint(clock=lambda: now[0])
    lengths = []
    for _ in range(6):
        hint.note(Needs(cores=9))
        lengths.append(hint.left)
        now[0] += hint.left + 1
    assert lengths == [30, 60, 120, 240, 300, 300]
    assert hint.left == 0
    assert hint.needs == Needs(cores=9)
    hint.note(Needs(cores=9))
    hint.note(None)
    assert (hint.needs, hint.left) == (LEAST, 0)
    hint.note(Needs(cores=9))
    assert hint.left == 30


async def test_a_defect_in_what_is_told_ends_nobody(machine: Machine) -> None:
    """Experiments do not depend on news of the machine; it is told as soon as it can be."""
    defects = [ZeroDivisionError("a defect")]

    def unusable() -> Mapping[str, str]:
        if defects:
            raise defects.pop()
        return {"certs/lab": "it is half a file"}

    async with looping(machine) as loop:
        loop.supply.unusable = unusable
        send(machine)
        await seen(lambda: machine.ends == ["completed"])
        await seen(lambda: [one for one in machine.reports if one.news is News.WARNING])
        loop.drain()
    assert not defects
    await machine.check_clean()
