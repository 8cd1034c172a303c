"""Starts real runs for tests, and ends what a failing test leaves of them."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import anyio

from runner.lifecycle.runs import processes
from runner.lifecycle.runs.run import Exit, Run, RunSpec
from runner.model import Bytes, Cause
from runner.sandboxes.base import Identity, Launch
from runner.supervisor.processes import of_run

#: Seconds for anything that must happen: far more than it takes, so that only a defect is slow.
PATIENCE = 60.0
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that no event tells of; fail the test if it never does."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what other processes do sets no event here
            await anyio.sleep(0.005)


def python(*lines: str) -> tuple[str, ...]:
    """Return the command that runs these lines."""
    return (sys.executable, "-c", "\n".join(lines))


#: Defines ``daemon(act)``: run a function in a process that forked twice and left its session.
DAEMON = (
    "import os, signal, sys, time",
    "def daemon(act):",
    "    if os.fork() == 0:",
    "        os.setsid()",
    "        if os.fork() == 0:",
    "            act()",
    "        os._exit(0)",
    "    os.wait()",
)


#: Leaves somebody in the background who says something when it is told to end.
LAST_WORDS = (
    *DAEMON,
    "def last(*_):",
    "    os.write(1, b'last words')",
    "    os._exit(0)",
    "def stay():",
    "    signal.signal(signal.SIGTERM, last)",
    "    open('ready', 'w').close()",
    "    time.sleep(600)",
    "daemon(stay)",
    "while not os.path.exists('ready'): time.sleep(0.01)",
)


def supervisor_of(run: Run) -> int:
    """Return the supervisor's pid as its record tells it."""
    record: dict[str, int] = json.loads((run.directory / "supervisor.json").read_bytes())
    return record["pid"]


async def recorded(run: Run) -> int:
    """Wait for the supervisor's record and return its pid."""
    await until((run.directory / "supervisor.json").exists)
    return supervisor_of(run)


def pieces(run: Run) -> dict[str, bytes]:
    """Return the pieces of output that may still be left out, but for those just going."""
    found = {}
    for path in run.directory.glob("tail.*"):
        with suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


class Runs:
    """Runs below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = root / "output"
        self._ids: list[str] = []

    def spec(
        self,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str] = ENV,
        cwd: Path | None = None,
        identity: Identity | None = None,
        readonly: tuple[Path, ...] = (),
        limits: Mapping[Cause, timedelta] | None = None,
        output_limit: int = 1 << 20,
        grace: float = 30,
        orphan_timeout: float = 600,
        directory: Path | None = None,
        output: Path | None = None,
    ) -> RunSpec:
        """Describe a run; times are in seconds."""
        run_id = uuid.uuid4().hex
        self._ids.append(run_id)
        return RunSpec(
            run_id=run_id,
            directory=directory or self.root / run_id,
            launch=Launch(argv, cwd or self.root, env, identity, readonly),
            output=output or self.output,
            output_limit=Bytes(output_limit),
            limits=limits or {},
            grace=timedelta(seconds=grace),
            orphan_timeout=timedelta(seconds=orphan_timeout),
        )

    async def finish(self, spec: RunSpec) -> Exit:
        """Run to the end and forget."""
        run = await Run.start(spec)
        exit_ = await ended(run)
        await run.forget()
        return exit_

    def said(self) -> bytes:
        """Return what is in the output file by now."""
        return self.output.read_bytes() if self.output.exists() else b""

    async def says(self, text: bytes) -> None:
        """Wait until the output holds ``text``."""
        await until(lambda: text in self.said())

    async def clean(self) -> None:
        """End whatever a failed test left."""
        for run_id in self._ids:
            await processes.end(run_id)


async def ended(run: Run) -> Exit:
    """Wait for the end, and see that no process of the run is left."""
    with anyio.fail_after(PATIENCE):
        exit_ = await run.wait()
    assert of_run(run.run_id) == []
    return exit_


def end_of(exit_: Exit) -> tuple[str, int | None, int | None]:
    """Return what tells ends apart."""
    return exit_.reason, exit_.code, exit_.signal


@asynccontextmanager
async def runs_below(root: Path) -> AsyncIterator[Runs]:
    """Give runs a directory; none survives the block."""
    runs = Runs(root)
    try:
        yield runs
    finally:
        with anyio.CancelScope(shield=True):
            await runs.clean()
