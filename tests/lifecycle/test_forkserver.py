"""Supervisors by a fork: alike in everything that they are found and judged by, and never lost."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import HostFault
from runner.lifecycle.runs.forkserver import ForkServer
from runner.lifecycle.runs.run import Run
from runner.model import Cause
from runner.supervisor import processes, records
from tests.lifecycle.runs import Runs, recorded, runs_below, until

pytestmark = pytest.mark.anyio

READY = ("/bin/sh", "-c", "echo ready; exec sleep 600")


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs, without any left afterwards."""
    async with runs_below(tmp_path) as found:
        yield found


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    """A server that is ended afterwards."""
    async with ForkServer() as opened:
        yield opened


async def finished(run: Run) -> int | None:
    """Wait for its end and return the exit code."""
    with anyio.fail_after(60):
        exit_ = await run.wait()
    await run.forget()
    return exit_.code


async def ended(run: Run) -> None:
    """Have it killed."""
    await run.stop(Cause.CANCELLED, timedelta(0))
    await finished(run)


async def test_one_server_starts_many(runs: Runs, server: ForkServer) -> None:
    """It is started with the first, and stays."""
    assert server.pid == 0
    begun = [
        await Run.start(runs.spec(("/bin/sh", "-c", f"exit {n}")), server) for n in range(1, 5)
    ]
    first = server.pid
    assert [await finished(run) for run in begun] == [1, 2, 3, 4]
    assert server.pid == first != 0


async def test_a_supervisor_is_known_by_mark_and_directory(runs: Runs, server: ForkServer) -> None:
    """These are what it is found by when its record was not yet written; the server has none."""
    spec = runs.spec(READY)
    run = await Run.start(spec, server)
    place = Path(f"/proc/{run.supervisor}")
    assert shown(place / "environ", processes.MARK) == spec.run_id.encode()
    assert os.fsencode(spec.directory) in (place / "cmdline").read_bytes().split(b"\0")
    assert run.supervisor in {found.pid for found in processes.of_run(spec.run_id)}
    assert server.pid not in {found.pid for found in processes.of_run(spec.run_id)}
    await ended(run)


async def test_a_supervisor_has_nothing_of_the_servers(runs: Runs, server: ForkServer) -> None:
    """It leads a session of its own, hears what it should, and holds no socket to the daemon."""
    run = await Run.start(runs.spec(READY), server)
    pid = await recorded(run)
    assert os.getsid(pid) == pid
    held = open_files(pid)
    assert not [name for name in held if name.startswith("socket:")]
    assert os.fspath(run.directory / os.fsdecode(records.LOG)) in held
    await run.stop(Cause.CANCELLED)
    assert await finished(run) is None


async def test_supervisors_outlive_the_server(runs: Runs) -> None:
    """As they outlive the daemon, whose end ends it."""
    async with ForkServer() as server:
        run = await Run.start(runs.spec(READY), server)
        pid = server.pid
    assert processes.look(pid) is None
    assert processes.look(run.supervisor) is not None
    await ended(run)


async def test_a_server_that_was_killed_is_replaced(runs: Runs, server: ForkServer) -> None:
    """The run that finds it dead starts without it, the next one has a new one."""
    assert await finished(await Run.start(runs.spec(("/bin/true",)), server)) == 0
    os.kill(server.pid, signal.SIGKILL)
    assert await finished(await Run.start(runs.spec(("/bin/true",)), server)) == 0
    assert server.pid == 0
    assert await finished(await Run.start(runs.spec(("/bin/true",)), server)) == 0
    assert server.pid != 0


async def test_a_server_that_hangs_starts_nothing_afterwards(runs: Runs, tmp_path: Path) -> None:
    """The question waits in its socket: were it answered later, there would be two supervisors."""
    async with ForkServer(patience=timedelta(seconds=0.5)) as server:
        assert await finished(await Run.start(runs.spec(("/bin/true",)), server)) == 0
        hung = server.pid
        os.kill(hung, signal.SIGSTOP)
        note = tmp_path / "note"
        spec = runs.spec(("/bin/sh", "-c", f"echo once >> {note}; exec sleep 600"))
        run = await Run.start(spec, server)
        await until(lambda: note.exists() and note.read_text())
        assert processes.look(hung) is None
        supervisors = [one for one in processes.of_run(spec.run_id) if one.parent == os.getpid()]
        assert [one.pid for one in supervisors] == [run.supervisor]
        await ended(run)
    assert note.read_text() == "once\n"


async def test_a_directory_with_a_long_name_does_without(runs: Runs, server: ForkServer) -> None:
    """The server has no room for its name."""
    spec = runs.spec(("/bin/sh", "-c", "exit 7"))
    place = spec.directory.joinpath(*["d" * 200] * 3)
    place.mkdir(parents=True)
    run = await Run.start(replace(spec, directory=place), server)
    assert server.pid == 0
    assert await finished(run) == 7


async def test_what_cannot_be_written_is_told(runs: Runs, server: ForkServer) -> None:
    """The error names the directory, as it does without a server."""
    spec = runs.spec(("/bin/true",))
    (spec.directory / os.fsdecode(records.LOG)).mkdir(parents=True)
    with pytest.raises(HostFault, match="Is a directory"):
        await Run.start(spec, server)


def open_files(pid: int) -> list[str]:
    """Return what a process has open."""
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def shown(path: Path, name: bytes) -> bytes:
    """Return the value of a variable as ``/proc`` shows it."""
    pairs = (pair.partition(b"=") for pair in path.read_bytes().split(b"\0"))
    return next(value for key, _, value in pairs if key == name)
