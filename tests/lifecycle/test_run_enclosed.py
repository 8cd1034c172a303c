"""A run with processes of its own: it meets no others, and the kernel ends what it leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runner.lifecycle.runs import exits
from runner.lifecycle.runs.run import Run, RunSpec
from runner.sandboxes.base import Launch
from runner.sandboxes.plain import PlainSandbox
from tests.lifecycle.runs import (
    DAEMON,
    LAST_WORDS,
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
    if not PlainSandbox().encloses:
        pytest.skip("this machine gives no namespaces of processes")
    async with runs_below(tmp_path) as found:
        yield found


def enclosed(runs: Runs, *lines: str, grace: float = 30) -> RunSpec:
    """Describe a run of these lines of Python."""
    spec = runs.spec(python(*lines), grace=grace)
    launch = Launch(
        spec.launch.argv,
        spec.launch.cwd,
        spec.launch.env,
        user_namespace=os.geteuid() != 0,
        own_processes=True,
    )
    return replace(spec, launch=launch)


@pytest.mark.parametrize(
    ("act", "code", "signum"),
    [
        ("sys.exit(3)", 3, None),
        ("sys.exit(139)", 139, None),
        ("os.abort()", None, signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGTERM)", None, signal.SIGTERM),
        ("ctypes.string_at(0)", None, signal.SIGSEGV),
    ],
)
async def test_an_end_is_what_it_is_without(
    runs: Runs, act: str, code: int | None, signum: int | None
) -> None:
    """The first process of a namespace is deaf to signals: the experiment is not that one."""
    exit_ = await runs.finish(enclosed(runs, "import ctypes, os, signal, sys", act))
    assert (exit_.reason, exit_.code, exit_.signal) == (exits.EXITED, code, signum)


async def test_it_sees_and_ends_its_own_alone(runs: Runs) -> None:
    """Killing all that one may is no harm; names made of pids are not those of other runs."""
    lines = (
        "import os",
        "print(sorted(set(n for n in os.listdir('/proc') if n.isdigit()) - {str(os.getpid())}))",
        "print(os.getpid() > 2)",
        "try: os.kill(-1, 9)",
        "except ProcessLookupError: print('alone')",
    )
    exit_ = await runs.finish(enclosed(runs, *lines))
    assert (exit_.code, runs.said()) == (0, b"['1']\nTrue\nalone\n")


async def test_what_it_leaves_hears_term_first(runs: Runs) -> None:
    """As without: last words can still be written in the background."""
    exit_ = await runs.finish(enclosed(runs, *LAST_WORDS))
    assert (exit_.code, exit_.survivors, runs.said()) == (0, 0, b"last words")


@pytest.mark.parametrize("who", ["supervisor", "experiment"])
async def test_nothing_survives_that_shed_all_marks(runs: Runs, who: str) -> None:
    """No session, no parent, no variables, no descriptors: the namespace is what tells."""
    name = f"shed-{runs.root.name}-{os.getpid()}"
    lines = (
        *DAEMON,
        f"word = {name!r}",
        "def stay():",
        "    os.closerange(0, 100)",
        "    os.execve(sys.executable, [word, '-c', 'import time; time.sleep(600)'], {})",
        "daemon(stay)",
        "time.sleep(600)",
    )
    run = await Run.start(enclosed(runs, *lines, grace=0))
    await until(lambda: left(name))
    if who == "supervisor":
        os.kill(supervisor_of(run), signal.SIGKILL)
    else:
        script = next(one for one in psutil.process_iter() if is_script(one, name))
        script.kill()
    exit_ = await ended(run)
    await run.forget()
    assert exit_.reason == (exits.VANISHED if who == "supervisor" else exits.EXITED)
    assert not left(name)


def left(name: str) -> bool:
    """Tell whether the process that shed everything is there."""
    return any(words(one)[:1] == [name] for one in psutil.process_iter())


def is_script(process: psutil.Process, name: str) -> bool:
    """Tell whether this is the experiment itself."""
    return len(words(process)) > 2 and name in words(process)[2]


def words(process: psutil.Process) -> list[str]:
    """Return a process's command; nothing when it has just gone."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
