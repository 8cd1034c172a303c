"""A message that comes back to the daemon that runs it is held by its run, and not run twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from runner.lifecycle.loop import Ends, Loop
from runner.model import Cause
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Line, Machine, Points, seen

pytestmark = pytest.mark.anyio

GO = """
import pathlib, time
with open({times!r}, 'a') as file:
    file.write('ran\\n')
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""


class Scene:
    """A daemon that serves its queue, and scripts that end when the test says so."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.box, self.queue = machine.box, machine.queue

    def message(self, *, has_claim: bool = True) -> Json:
        """Return a message, of an experiment that has a place for a claim record or has not."""
        times, go = str(self.box.root / "times"), str(self.box.root / "go")
        message = self.box.message(GO.format(times=times, go=go))
        if not has_claim:
            labels = message["experiment"]["artifacts"]
            message["experiment"]["artifacts"] = {"workspace": labels["workspace"]}
        return message

    async def begun(self, message: Json) -> None:
        """Send it, and wait for its run."""
        self.queue.send(message)
        await seen(lambda: "begun" in self.box.live_output())
        await seen(lambda: [one.stage for one in self.machine.parts.board] == ["running"])

    async def back(self) -> None:
        """Have the broker give us up, and hand the message out again: to us."""
        handed = len(self.queue.letters)
        self.queue.expire()
        await seen(lambda: len(self.queue.letters) > handed)

    def go(self) -> None:
        """Let scripts end."""
        (self.box.root / "go").touch()

    @property
    def times(self) -> int:
        """How often it was started."""
        return len((self.box.root / "times").read_text().splitlines())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A daemon at work."""
    points = Points()
    queue = Line("local_test", points)
    async with Machine.open(Box(tmp_path), points=points, queue=queue) as machine:
        loop = Loop(machine.parts, machine.supply, Ends())
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(loop.run)
                yield Scene(machine)
                loop.drain()
        await machine.check_clean()


@pytest.mark.parametrize("has_claim", [True, False], ids=["claim", "no claim"])
async def test_a_message_that_comes_back_meets_its_run(scene: Scene, has_claim: bool) -> None:  # noqa: FBT001 - a parameter
    """Again and again: it is run once and settled once, whether or not a claim record says so."""
    await scene.begun(scene.message(has_claim=has_claim))
    for _ in range(3):
        await scene.back()
    await seen(lambda: len(scene.machine.keeper.open) == 1 + has_claim)
    scene.go()
    await seen(lambda: scene.machine.ends)
    assert scene.machine.ends == ["completed"]
    assert [letter.settled for letter in scene.queue.letters] == [[], [], [], ["ack"]]
    assert scene.times == 1


async def test_the_next_daemon_holds_what_came_back_last(scene: Scene) -> None:
    """The record on the disk tells of the latest delivery, and how often it was handed out."""
    await scene.begun(scene.message())
    await scene.back()
    (file,) = scene.machine.parts.records.directory.glob("*/record.json")
    await seen(lambda: json.loads(file.read_text())["message"]["receive_count"] == 2)
    scene.go()
    await seen(lambda: scene.machine.ends == ["completed"])


async def test_what_is_lost_to_another_is_not_held_again(scene: Scene) -> None:
    """A run that is being ended takes no message: that is put off until the other has ended."""
    message = scene.message()
    await scene.begun(message)
    reached = scene.machine.points.holds("release")
    key = message["experiment"]["key"]
    file = scene.box.storage / "experiments" / key / f"_claim.{key}.json"
    record = json.loads(file.read_text())
    record["owner"]["run"] = "another"
    file.write_text(json.dumps(record))
    (entry,) = scene.machine.parts.board
    entry.stopper.stop(Cause.LEASE_LOST, "another has it")
    await reached.wait()
    scene.queue.expire()
    await seen(lambda: len(scene.queue.letters) == 2)
    assert await entry.attach(scene.queue.letters[-1]) is False
    del scene.machine.points.acts["release"]


async def test_another_message_of_the_same_experiment_is_put_off(scene: Scene) -> None:
    """What was sent twice has two messages: the second waits for the end of the first."""
    message = scene.message()
    await scene.begun(message)
    scene.queue.send(message)
    await seen(lambda: "not-ours" in scene.machine.ends)
    assert scene.queue.letters[0].settled == []
    scene.go()
    await seen(lambda: [letter.settled for letter in scene.queue.letters].count(["ack"]) == 2)
    await seen(lambda: scene.machine.ends.count("completed") == 1)  # told behind the broker
    assert scene.times == 1
