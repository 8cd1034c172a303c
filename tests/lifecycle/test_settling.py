"""Every way in which an attempt can end settles its message once and leaves nothing behind."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import OutOfDisk, QueueUnavailable, StoreUnavailable
from runner.model import Cause, Needs
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Machine, seen

pytestmark = pytest.mark.anyio

HELLO = "print('hello')"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


async def test_upload_comes_before_the_record_then_the_broker_then_the_news(
    machine: Machine,
) -> None:
    """The order is pinned: a crash between two steps repeats work and loses nothing."""
    await machine.handle(machine.box.message("open('../retval/retval', 'w').write('x')"))
    steps = ["stored retval", "put claim ended done", "ack done", "report ended"]
    assert machine.points.until(*steps) == steps
    assert machine.points.passed.index("store output") < machine.points.passed.index("store retval")


async def test_the_clients_status_follows_the_upload(machine: Machine) -> None:
    """Whoever reads that it is finished finds its results."""
    message = machine.box.message(HELLO)
    await machine.handle(message)
    passed = machine.points.passed
    assert passed.index("stored output") < len(passed) - passed[::-1].index("put status done")
    key = message["experiment"]["key"]
    status = machine.box.root / "store" / "meta" / "experiments" / key
    assert json.loads(status.read_text())["status"] == "finished"


@dataclass(frozen=True)
class Way:
    """One way to end: what is done beforehand, and what has to come of it."""

    cause: str
    settled: str
    #: State of the claim record, or nothing where there must be none.
    claim: str | None
    script: str = HELLO
    #: Changes message and machine.
    but: Callable[[Machine, Json], None] = lambda _machine, _message: None


def _claimed_by_another(state: str) -> Callable[[Machine, Json], None]:
    def write(machine: Machine, message: Json) -> None:
        key = message["experiment"]["key"]
        file = machine.box.storage / "experiments" / key / f"_claim.{key}.json"
        file.parent.mkdir(parents=True)
        owner = {"host": "elsewhere", "daemon": "d", "run": "r"}
        outcome = {"cause": "completed", "exit_code": 0, "detail": ""}
        record = {
            "version": 1,
            "key": key,
            "owner": owner,
            "attempt": 1,
            "counted": 0,
            "beat": 3,
            "lease": 60,
            "state": state,
            "outcome": outcome if state == "ended" else None,
            "previous_cause": None,
            "submitted": message["experiment"]["time_added"],
        }
        file.write_text(json.dumps(record))

    return write


def _fails(point: str, *errors: Exception) -> Callable[[Machine, Json], None]:
    return lambda machine, _: machine.points.raises(point, *errors)


def _without(*path: str) -> Callable[[Machine, Json], None]:
    def remove(machine: Machine, message: Json) -> None:
        del machine
        found = message
        for name in path[:-1]:
            found = found[name]
        del found[path[-1]]

    return remove


def _with_needs(**needs: object) -> Callable[[Machine, Json], None]:
    return lambda _, message: message["experiment"]["resources_needed"].update(needs)


def _lost_workspace(machine: Machine, message: Json) -> None:
    (machine.box.storage / message["experiment"]["artifacts"]["workspace"]["key"]).unlink()


def _expired(machine: Machine, message: Json) -> None:
    del machine
    message["experiment"]["time_added"] = 1000.0
    message["config"]["experimentLifetime"] = "1h"


AWAY = StoreUnavailable("away")
WAYS = {
    "completed": Way("completed", "ack", "ended"),
    "a bad exit": Way("exit", "ack", "ended", "raise SystemExit(1)"),
    "a crash": Way("signal", "ack", "ended", "import os; os.abort()"),
    "a bad request": Way("bad-request", "bury", None, but=_without("experiment", "filename")),
    "no such script": Way(
        "bad-request",
        "bury",
        "ended",
        but=lambda _, message: message["experiment"].update(filename="no.py"),
    ),
    "no request": Way("not-a-request", "release", None, but=_without("experiment")),
    "too big": Way("too-big", "release", None, but=_with_needs(cpus=99)),
    "beating elsewhere": Way("not-ours", "release", "running", but=_claimed_by_another("running")),
    "ended elsewhere": Way("not-ours", "ack", "ended", but=_claimed_by_another("ended")),
    "given back elsewhere": Way("completed", "ack", "ended", but=_claimed_by_another("released")),
    "an expired lifetime": Way("lifetime", "ack", "ended", but=_expired),
    "no workspace": Way("artifact-missing", "ack", "ended", but=_lost_workspace),
    "no store for the claim": Way(
        "store-unavailable", "release", None, but=_fails("stat claim", AWAY)
    ),
    "no store for the artifacts": Way(
        "store-unavailable", "release", "released", but=_fails("read workspace", AWAY)
    ),
    "a store that comes back for the results": Way(
        "completed", "ack", "ended", but=_fails("store output", AWAY)
    ),
    "a store whose disk is full for a moment": Way(
        "completed", "ack", "ended", but=_fails("store output", OutOfDisk("full"))
    ),
    "a store that comes back for the record": Way(
        "completed", "ack", "ended", but=_fails("put claim ended", AWAY, AWAY)
    ),
    "a store without the client's object": Way(
        "completed", "ack", "ended", but=_fails("stat status", ValueError("a defect"))
    ),
    "a broker that comes back": Way(
        "completed", "ack", "ended", but=_fails("ack", QueueUnavailable("away"))
    ),
    "a defect while it is built": Way(
        "internal", "release", "released", but=_fails("build", ZeroDivisionError())
    ),
    "a defect while it is fetched": Way(
        "internal", "release", "released", but=_fails("read workspace", ZeroDivisionError())
    ),
    "a defect while it is stored": Way(
        "internal", "release", "released", but=_fails("store output", ZeroDivisionError())
    ),
    "a defect in the record": Way(
        "completed", "ack", "running", but=_fails("put claim ended", ZeroDivisionError())
    ),
    "a defect in the claim": Way(
        "internal", "release", None, but=_fails("stat claim", ZeroDivisionError())
    ),
    "a defect beside the run": Way(
        "completed", "ack", "ended", but=_fails("report started", ZeroDivisionError())
    ),
}


@pytest.mark.parametrize(
    ("trouble", "phase"),
    [
        (AWAY, "uploading, waiting for the store"),
        (OutOfDisk("full"), "uploading, waiting for room"),
    ],
)
async def test_whoever_looks_sees_what_a_result_waits_for(
    machine: Machine, trouble: Exception, phase: str
) -> None:
    """An hour of ``uploading`` would say nothing; a stop of the daemon ends the waiting."""
    machine.points.raises("store output", *[trouble] * 1000)

    async def shown() -> None:
        await seen(lambda: [one.phase for one in machine.parts.board] == [phase])

    async with machine.handled(machine.box.message(HELLO), shown) as letter:
        for entry in machine.parts.board:
            entry.stopper.stop(Cause.DRAINED, "the test says so")
    assert letter.settled == ["release"]
    await machine.check_clean()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_every_end_settles_once(machine: Machine, way: Way) -> None:
    """The broker hears one word, the record says the same, and nothing is left."""
    message = machine.box.message(way.script)
    key = message["experiment"]["key"]
    way.but(machine, message)
    letter = await machine.handle(message)
    assert machine.ends == [way.cause]
    assert letter.settled == [way.settled]
    claim = machine.box.claim(key)
    assert (claim and claim["state"]) == way.claim
    await machine.check_clean()


async def test_a_defect_at_the_broker_costs_the_daemon_nothing(machine: Machine) -> None:
    """The message stays as it is until its lease ends; the record says that it was settled."""
    machine.points.raises("ack", ZeroDivisionError())
    letter = await machine.handle(machine.box.message(HELLO))
    assert letter.settled == []
    await machine.check_clean()
    machine.queue.expire()
    assert (await machine.handle()).settled == ["ack"]
    assert machine.ends == ["completed", "not-ours"]


async def test_what_cannot_be_given_back_costs_no_result(machine: Machine) -> None:
    """Everything is stored by then: a disk that is full while caches make room is no failure."""
    machine.points.raises("built given back", OSError(errno.ENOSPC, "No space left on device"))
    letter = await machine.handle(machine.box.message("print('x')"))
    assert letter.settled == ["ack"]
    assert machine.ends == ["completed"]
    await machine.check_clean()


async def test_what_has_no_room_goes_back(machine: Machine) -> None:
    """With the machine's reservation taken it is released, and says what the next needs."""
    running = await machine.parts.intake.slot()
    message = machine.box.message(HELLO)
    message["experiment"]["resources_needed"]["cpus"] = 2
    async with anyio.create_task_group() as group:
        group.start_soon(machine.parts.intake.reserved, Needs(cores=2))
        await anyio.wait_all_tasks_blocked()
        handling, letter = await machine.handling(message)
        outcome = await handling.perform(await machine.parts.intake.slot())
        group.cancel_scope.cancel()
    running.give_back()
    assert (outcome.cause.value, letter.settled) == ("no-room", ["release"])
    assert handling.too_big_for_now is not None
    await machine.check_clean()


async def test_a_result_that_cannot_be_recorded_is_not_acknowledged(tmp_path: Path) -> None:
    """Whoever waits reads the record; so the message comes back until one is written."""
    async with Machine.open(Box(tmp_path), upload_patience=timedelta(0)) as machine:
        message = machine.box.message(HELLO)
        machine.points.raises("put claim ended", *[AWAY] * 2)
        assert (await machine.handle(message)).settled == ["release"]
        await machine.check_clean()


async def test_an_output_that_takes_no_explanation_costs_nothing_else(machine: Machine) -> None:
    """Where the experiment destroyed its output, the cause is told and the rest is stored."""
    script = (
        "import os, shutil\n"
        "open('../modeldir/weights', 'w').write('w')\n"
        "shutil.rmtree('../output')\n"
        "open('../output', 'w')\n"
        "raise SystemExit(3)\n"
    )
    message = machine.box.message(script)
    await machine.handle(message)
    key = message["experiment"]["key"]
    assert machine.box.stored(key, "modeldir", "weights") == b"w"
    assert "exit" in machine.reports[-1].text
    await machine.check_clean()


async def test_an_earlier_output_is_kept_when_nothing_could_be_fetched(machine: Machine) -> None:
    """The explanation of an attempt that never ran is appended to what the first one printed."""
    message = machine.box.message("print('of the first attempt'); raise SystemExit(1)")
    message["config"]["runner"] = {"retry_on": ["exit", "artifact-missing"], "max_attempts": 3}
    await machine.handle(message)
    _lost_workspace(machine, message)
    await machine.handle()
    output = machine.box.output(message["experiment"]["key"])
    assert output.index("of the first attempt") < output.index("artifact-missing")
    await machine.check_clean()


async def test_no_store_is_waited_for_where_nothing_ran(machine: Machine) -> None:
    """There is only an explanation to store: the message goes back at once instead."""
    machine.points.raises("read workspace", AWAY)
    machine.points.raises("store output", *[AWAY] * 100)
    with anyio.fail_after(PATIENCE / 4):
        letter = await machine.handle(machine.box.message(HELLO))
    assert letter.settled == ["release"]
    await machine.check_clean()
