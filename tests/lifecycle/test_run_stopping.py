"""Limits, stops and what experiments leave behind: whole trees end, whatever they try."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.lifecycle.runs import exits
from runner.lifecycle.runs.run import Run
from runner.model import Cause
from runner.supervisor import processes
from tests.lifecycle.runs import (
    DAEMON,
    LAST_WORDS,
    PATIENCE,
    Runs,
    ended,
    python,
    runs_below,
    supervisor_of,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs, without any left afterwards."""
    async with runs_below(tmp_path) as found:
        yield found


async def test_a_time_limit_ends_the_run(runs: Runs) -> None:
    """The earliest limit is the cause, and TERM is heard."""
    script = "trap 'echo heard; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    limits = {Cause.TIME_LIMIT: timedelta(seconds=1.5), Cause.LIFETIME: timedelta(hours=1)}
    exit_ = await runs.finish(runs.spec(("/bin/sh", "-c", script), limits=limits))
    assert (exit_.reason, exit_.stopped_for) == ("time-limit", Cause.TIME_LIMIT)
    assert exit_.code == 5
    assert b"heard" in runs.said()


async def test_a_lifetime_that_is_over_ends_the_run_at_once(runs: Runs) -> None:
    """A limit of nothing is a limit."""
    limits = {Cause.TIME_LIMIT: timedelta(hours=1), Cause.LIFETIME: timedelta(0)}
    exit_ = await runs.finish(runs.spec(("/bin/sleep", "600"), limits=limits))
    assert (exit_.stopped_for, exit_.signal) == (Cause.LIFETIME, signal.SIGTERM)


async def test_who_ignores_term_is_killed_after_the_grace(runs: Runs) -> None:
    """TERM, grace, KILL."""
    code = "import signal, time; signal.signal(15, 1); print('deaf', flush=True); time.sleep(600)"
    run = await Run.start(runs.spec(python(code), grace=0.2))
    await runs.says(b"deaf")
    await run.stop(Cause.CANCELLED)
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.stopped_for, exit_.signal) == (Cause.CANCELLED, signal.SIGKILL)


async def test_a_second_stop_can_shorten_the_grace(runs: Runs) -> None:
    """The first cause stays the cause; asking twice for the same does no harm."""
    code = (
        "import os, signal, time",
        "signal.signal(15, lambda *_: os.write(1, b'heard'))",
        "os.write(1, b'ready')",
        "while True: time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code), grace=600))
    await runs.says(b"ready")
    await run.stop(Cause.DRAINED)
    await runs.says(b"heard")
    await run.stop(Cause.DRAINED)
    assert processes.of_run(run.run_id)
    await run.stop(Cause.CANCELLED, grace=timedelta(0))
    exit_ = await ended(run)
    await run.stop(Cause.LEASE_LOST)
    await run.forget()
    assert (exit_.stopped_for, exit_.signal) == (Cause.DRAINED, signal.SIGKILL)


async def test_a_stop_before_anything_began_is_heard(runs: Runs) -> None:
    """A signal that arrives while the supervisor starts is not lost, nor does it kill it."""
    run = await Run.start(runs.spec(("/bin/sleep", "600")))
    await run.stop(Cause.LEASE_LOST)
    exit_ = await ended(run)
    await run.forget()
    assert exit_.stopped_for is Cause.LEASE_LOST


async def test_a_stopped_process_is_ended_too(runs: Runs) -> None:
    """A process that had stopped itself still hears TERM within the grace."""
    script = "trap 'echo heard; exit 0' TERM; echo ready; kill -STOP $$; sleep 600"
    run = await Run.start(runs.spec(("/bin/sh", "-c", script)))
    await runs.says(b"ready")
    await run.stop(Cause.CANCELLED)
    exit_ = await ended(run)
    await run.forget()
    assert exit_.code == 0
    assert b"heard" in runs.said()


async def test_two_signals_from_a_stranger_end_the_run(runs: Runs) -> None:
    """SIGTERM without a word stops the run with its grace, a second one kills."""
    code = (
        "import os, signal, time",
        "signal.signal(15, lambda *_: os.write(1, b'heard'))",
        "os.write(1, b'ready')",
        "while True: time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code), grace=600))
    await runs.says(b"ready")
    os.kill(supervisor_of(run), signal.SIGTERM)
    await runs.says(b"heard")
    os.kill(supervisor_of(run), signal.SIGTERM)
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.reason, exit_.stopped_for) == (exits.TERMINATED, None)


async def test_waiting_can_be_given_up(runs: Runs) -> None:
    """A cancelled ``wait`` leaves the run alone, and another one finds its end."""
    run = await Run.start(runs.spec(("/bin/sh", "-c", "echo ready; sleep 600")))
    await runs.says(b"ready")
    with anyio.move_on_after(0.01):
        await run.wait()
    assert processes.of_run(run.run_id)
    await run.stop(Cause.CANCELLED)
    await ended(run)
    await run.forget()


async def test_many_may_wait(runs: Runs) -> None:
    """All who wait for one run get the same end."""
    run = await Run.start(runs.spec(("/bin/sh", "-c", "sleep 0.1; exit 4")))
    found: list[int | None] = []

    async def wait() -> None:
        found.append((await run.wait()).code)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait)
    await run.forget()
    assert found == [4, 4, 4]


async def test_what_is_left_behind_is_ended_with_the_experiment(runs: Runs) -> None:
    """A double fork, a session of its own, deafness and the held pipe save no process."""
    code = (
        *DAEMON,
        "def stay():",
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "    print('daemon', flush=True)",
        "    time.sleep(600)",
        "daemon(stay)",
        "sys.exit(6)",
    )
    exit_ = await runs.finish(runs.spec(python(*code), grace=0.2))
    assert (exit_.reason, exit_.code) == (exits.EXITED, 6)
    assert exit_.survivors == 0


async def test_leftovers_may_end_by_themselves(runs: Runs) -> None:
    """TERM comes first: what writes its last words in the background can still do so."""
    exit_ = await runs.finish(runs.spec(python(*LAST_WORDS)))
    assert exit_.code == 0
    assert runs.said() == b"last words"


async def test_a_stop_reaches_every_process(runs: Runs) -> None:
    """TERM goes to the whole tree, whatever session a process sits in."""
    code = (
        *DAEMON,
        "def heard(*_):",
        "    os.write(1, b'heard ')",
        "    os._exit(0)",
        "signal.signal(signal.SIGTERM, heard)",
        "def stay():",
        "    print('ready', flush=True)",
        "    time.sleep(600)",
        "daemon(stay)",
        "daemon(stay)",
        "time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code)))
    await until(lambda: runs.said().count(b"ready") == 2)
    await run.stop(Cause.CANCELLED)
    await ended(run)
    await run.forget()
    assert runs.said().count(b"heard") == 3


async def test_a_fork_bomb_ends(runs: Runs) -> None:
    """Processes that fork, leave their session and vanish faster than one can look all end."""
    code = (
        "import os, signal, time",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "generation = 0",
        "while generation < 2000:",
        "    if os.fork() == 0:",
        "        os.setsid()",
        "        generation += 1",
        "        if generation == 50: os.write(1, b'fifty')",
        "        if generation % 10 == 0 and os.fork() == 0: time.sleep(600)",
        "    else:",
        "        time.sleep(0.002)",
        "        os._exit(0)",
        "time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code), grace=0))
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.code, exit_.survivors) == (0, 0)


async def test_a_bomb_is_stopped_while_it_spreads(runs: Runs) -> None:
    """A stop without grace wins against processes that go on forking."""
    code = (
        "import os, time",
        "for _ in range(10):",
        "    if os.fork() == 0: os.setsid()",
        "    time.sleep(0.05)",
        "time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code)))
    await until(lambda: len(processes.of_run(run.run_id)) > 30)
    await run.stop(Cause.CANCELLED, grace=timedelta(0))
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.stopped_for, exit_.survivors) == (Cause.CANCELLED, 0)
