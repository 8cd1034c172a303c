"""Runs outlive daemons, and end with their supervisors, whoever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import HostFault
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.run import Run, RunGone, RunTaken
from runner.model import Cause
from runner.supervisor import processes
from tests.lifecycle.runs import (
    DAEMON,
    Runs,
    ended,
    pieces,
    python,
    recorded,
    runs_below,
    supervisor_of,
    until,
)

pytestmark = pytest.mark.anyio

STARTER = """
import sys
from datetime import timedelta
from pathlib import Path
import anyio
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Bytes
from runner.sandboxes.base import Launch

async def main(root, run_id):
    script = "echo ready; while [ ! -e go ]; do sleep 0.01; done; echo done; exit 7"
    launch = Launch(("/bin/sh", "-c", script), root, {"PATH": "/usr/bin:/bin"})
    minute = timedelta(minutes=1)
    await Run.start(
        RunSpec(run_id, root / run_id, launch, root / "output", Bytes(1000), {}, minute, minute)
    )
    await anyio.sleep(600)

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs, without any left afterwards."""
    async with runs_below(tmp_path) as found:
        yield found


@contextmanager
def another_daemon(root: Path, run_id: str) -> Iterator[None]:
    """Start a run from another process, which is SIGKILLed at the end of the block."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    command = [sys.executable, "-c", STARTER, str(root), run_id]
    with subprocess.Popen(command, env={"PYTHONPATH": paths}) as daemon:
        try:
            yield
        finally:
            daemon.kill()


async def test_without_a_daemon_a_run_ends_in_time(runs: Runs) -> None:
    """A run that nobody adopts for its orphan timeout is stopped."""
    run = await Run.start(runs.spec(("/bin/sleep", "600"), orphan_timeout=0.3))
    run.leave()
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.reason, exit_.stopped_for) == (exits.ORPHANED, None)


async def test_an_adopted_run_is_no_orphan(runs: Runs) -> None:
    """As long as a daemon holds it, a run outlives its orphan timeout."""
    run = await Run.start(runs.spec(("/bin/sleep", "1"), orphan_timeout=0.2))
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.reason, exit_.code) == (exits.EXITED, 0)


async def test_a_run_outlives_its_daemon_and_is_adopted(runs: Runs) -> None:
    """SIGKILL the daemon: the same process goes on, and the next daemon learns its exit code."""
    spec = runs.spec(())
    with another_daemon(runs.root, spec.run_id):
        await runs.says(b"ready\n")
        before = {p.pid for p in processes.of_run(spec.run_id)}
        with pytest.raises(RunTaken, match="another daemon"):
            await Run.adopt(spec.directory)
    run = await Run.adopt(spec.directory)
    assert supervisor_of(run) in before & {p.pid for p in processes.of_run(spec.run_id)}
    (runs.root / "go").touch()
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.reason, exit_.code) == (exits.EXITED, 7)
    assert runs.said() == b"ready\ndone\n"


async def test_an_adopted_run_can_be_stopped(runs: Runs) -> None:
    """Adopting gives the same power over a run as starting it."""
    first = await Run.start(runs.spec(("/bin/sh", "-c", "echo ready; sleep 600")))
    await runs.says(b"ready")
    first.leave()
    run = await Run.adopt(first.directory)
    await run.stop(Cause.DRAINED)
    exit_ = await ended(run)
    await run.forget()
    assert exit_.stopped_for is Cause.DRAINED


async def test_a_run_that_ended_meanwhile_is_adopted_with_its_end(runs: Runs) -> None:
    """The record waits for the next daemon."""
    first = await Run.start(runs.spec(("/bin/sh", "-c", "exit 9")))
    await ended(first)
    first.leave()
    run = await Run.adopt(first.directory)
    exit_ = await ended(run)
    await run.forget()
    assert exit_.code == 9


async def test_a_killed_supervisor_leaves_nothing_alive(runs: Runs) -> None:
    """Every process of the run is found without it: by its mark, its session, its parent."""
    code = (
        *DAEMON,
        "def unmarked():",
        "    os.execve('/bin/sleep', ['sleep', '600'], {})",
        "def marked():",
        "    print('ready', flush=True)",
        "    if os.fork() == 0: os.execve('/bin/sleep', ['sleep', '600'], {})",
        "    time.sleep(600)",
        "if os.fork() == 0: unmarked()",
        "daemon(marked)",
        "time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code)))
    await runs.says(b"ready")
    pid = supervisor_of(run)
    await until(lambda: len(processes.descendants(pid)) == 4)
    family = {p.pid: p.started for p in processes.descendants(pid)}
    os.kill(pid, signal.SIGKILL)
    exit_ = await ended(run)
    await run.forget()
    assert (exit_.reason, exit_.code) == (exits.VANISHED, None)
    assert "its supervisor was killed" in exit_.detail
    assert not [p for p in processes.everyone() if family.get(p.pid) == p.started]


async def test_a_killed_supervisor_does_not_cost_the_end_of_the_output(runs: Runs) -> None:
    """The last part, still in pieces, is joined to the first by the daemon."""
    code = (
        "import os, time",
        "for i in range(20_000): print(f'{i:07}')",
        "print('the end', flush=True)",
        "time.sleep(600)",
    )
    run = await Run.start(runs.spec(python(*code), output_limit=16_000))
    pid = await recorded(run)
    await until(lambda: any(b"the end" in piece for piece in pieces(run).values()))
    os.kill(pid, signal.SIGKILL)
    await ended(run)
    await run.forget()
    said = runs.said()
    assert said.startswith(b"0000000\n")
    assert said.endswith(b"0019999\nthe end\n")
    assert said.count(b"bytes were left out here]\n") == 1
    assert len(said) < 16_300


async def test_a_run_of_another_boot_has_vanished(runs: Runs) -> None:
    """After a restart of the machine the recorded pids are nobody's, and nobody is signalled."""
    first = await Run.start(runs.spec(("/bin/sh", "-c", "echo ready; sleep 600")))
    await runs.says(b"ready")
    path = first.directory / "supervisor.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"boot": "another"}))
    first.leave()
    run = await Run.adopt(first.directory)
    await run.stop(Cause.DRAINED)
    exit_ = await run.wait()
    assert exit_.reason == exits.VANISHED
    assert "restarted" in exit_.detail
    assert processes.of_run(run.run_id)
    await first.stop(Cause.DRAINED, timedelta(seconds=1))
    await ended(first)
    await run.forget()


async def test_there_is_nothing_to_adopt_in_an_empty_directory(runs: Runs) -> None:
    """A directory without a run says so, and a run that never began is gone."""
    with pytest.raises(RunGone, match="holds no run"):
        await Run.adopt(runs.root)
    run = await Run.start(runs.spec(("/bin/sh", "-c", "echo ready; sleep 600")))
    await runs.says(b"ready")
    (run.directory / "supervisor.json").unlink()
    run.leave()
    with pytest.raises(RunGone, match="never began"):
        await Run.adopt(run.directory)
    await ended(run)
    await run.forget()


@pytest.mark.parametrize("torn", ["run.json", "supervisor.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
async def test_what_a_power_cut_left_is_nothing_to_adopt(
    runs: Runs, torn: str, content: bytes
) -> None:
    """Nobody of then is alive; the daemon goes on, and says what became of the run."""
    spec = runs.spec(("/bin/true",))
    run = await Run.start(spec)
    await ended(run)
    run.leave()
    (run.directory / "exit.json").unlink()
    (run.directory / torn).write_bytes(content)
    with pytest.raises(RunGone):
        await Run.adopt(run.directory)


async def test_a_torn_record_is_no_record(runs: Runs) -> None:
    """What a power cut leaves of ``exit.json`` is not believed."""
    run = await Run.start(runs.spec(("/bin/true",)))
    await until((run.directory / "exit.json").exists)
    (run.directory / "exit.json").write_bytes(b"")
    exit_ = await ended(run)
    await run.forget()
    assert exit_.reason == exits.VANISHED


async def test_a_run_that_cannot_be_written_down_is_a_host_fault(runs: Runs) -> None:
    """Where no directory can be made, nothing starts and nothing stays locked."""
    (runs.root / "file").write_text("")
    with pytest.raises(HostFault, match="cannot be started"):
        await Run.start(runs.spec(("/bin/true",), directory=runs.root / "file" / "run"))


async def test_a_run_whose_directory_is_removed_is_ended(runs: Runs) -> None:
    """Nobody would ever know how it ended, and its message is given to somebody else."""
    spec = runs.spec(("/bin/sh", "-c", "echo ready; exec sleep 600"), orphan_timeout=1)
    run = await Run.start(spec)
    await runs.says(b"ready")
    shutil.rmtree(spec.directory)
    exit_ = await ended(run)
    assert exit_.reason == exits.VANISHED
    run.leave()


@pytest.mark.parametrize(
    ("name", "put", "reason"),
    [
        ("stop.json", os.mkfifo, exits.EXITED),
        ("stop.json", Path.mkdir, exits.EXITED),
        ("adopted.lock", os.mkfifo, exits.EXITED),
        ("exit.json.part", os.mkfifo, exits.VANISHED),
    ],
)
async def test_what_is_put_among_a_runs_files_keeps_no_run_from_its_end(
    runs: Runs, name: str, put: Callable[[Path], None], reason: str
) -> None:
    """The supervisor neither dies of it nor waits for the other end of a pipe."""
    script = "echo ready; while [ ! -e go ]; do sleep 0.01; done; exit 7"
    run = await Run.start(runs.spec(("/bin/sh", "-c", script), orphan_timeout=2))
    await runs.says(b"ready")
    await recorded(run)
    path = run.directory / name
    path.unlink(missing_ok=True)
    put(path)
    (runs.root / "go").touch()
    exit_ = await ended(run)
    assert exit_.reason == reason
    run.leave()
