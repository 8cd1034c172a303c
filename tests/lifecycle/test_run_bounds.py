"""Runs are kept to their memory, cores and processes: by the kernel's groups, or by measuring."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runner.lifecycle import causes
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Bytes, Cause
from runner.sandboxes.base import Bounds, Command, Identity
from runner.sandboxes.bwrap import BwrapSandbox
from runner.supervisor import groups, hierarchies, processes
from runner.supervisor.grouping import groups_of
from tests.lifecycle.runs import DAEMON, Runs, ended, python, recorded, runs_below, until
from tests.passage import open_to_all
from tests.supervisor.test_mounts import ending, give, supervised

pytestmark = pytest.mark.anyio

MEMORY = Bytes(200_000_000)
SMALL = Bytes(64_000_000)
HOWS = [pytest.param("cgroup", marks=pytest.mark.service("cgroups")), "measure"]
by_groups = pytest.mark.service("cgroups")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be an ordinary user")

FILL = ("def fill():", "    held = []", "    while True: held.append(bytearray(4_000_000))")
#: Its child is above; it says so, and exits with what the child's end makes of it.
PARENT = (
    "import os, sys",
    *FILL,
    "pid = os.fork()",
    "if pid == 0: fill()",
    "_, status = os.waitpid(pid, 0)",
)


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs that everybody can pass through, without any left afterwards."""
    open_to_all(tmp_path)
    async with runs_below(tmp_path) as found:
        yield found


def bounded(runs: Runs, how: str, *lines: str, **bounds: object) -> RunSpec:
    """Describe a run of these lines of Python, held in one way."""
    wanted = Bounds(memory=MEMORY, cores=1, pids=64, enforce=how)
    return replace(runs.spec(python(*lines)), bounds=replace(wanted, **bounds))  # type: ignore[arg-type] # as given


def cause(exit_: Exit) -> Cause:
    """Return what people are told."""
    return causes.cause_of(causes.evidence_of(exit_))


def directories(run: Run) -> list[Path]:
    """Return the run's control groups, as its supervisor recorded them."""
    record = json.loads((run.directory / "supervisor.json").read_bytes())
    return [Path(path) for path in record["groups"].split(os.pathsep) if path]


# ----------------------------------------------------------------------------- memory


@pytest.mark.parametrize("how", HOWS)
async def test_a_run_above_its_memory_is_ended_and_told_so(runs: Runs, how: str) -> None:
    """The cause has a name, and its sentence the amount that was asked for."""
    exit_ = await runs.finish(bounded(runs, how, *FILL, "fill()"))
    assert cause(exit_) is Cause.OUT_OF_MEMORY
    assert "the 200 MB of memory that it asked for" in exit_.detail
    assert exit_.peak_memory > 0.9 * MEMORY


@pytest.mark.parametrize("how", HOWS)
async def test_a_run_below_its_memory_ends_by_itself(runs: Runs, how: str) -> None:
    """What it used is told: near what it filled."""
    exit_ = await runs.finish(bounded(runs, how, "x = bytearray(100_000_000)"))
    assert (exit_.reason, exit_.code) == (exits.EXITED, 0)
    assert 100_000_000 < exit_.peak_memory < MEMORY


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("code", ["1", "0"])
async def test_a_child_above_the_memory_ends_the_run(runs: Runs, how: str, code: str) -> None:
    """Whatever the script makes of it, and however it ends: a part of its work is missing."""
    exit_ = await runs.finish(bounded(runs, how, *PARENT, f"sys.exit({code})"))
    assert cause(exit_) is Cause.OUT_OF_MEMORY
    assert exit_.stopped_for is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize("how", HOWS)
async def test_a_script_does_not_wait_for_a_child_that_was_killed(runs: Runs, how: str) -> None:
    """The rest of the run is ended, too: it would wait for ever."""
    lines = (*DAEMON, *FILL, "daemon(fill)", "time.sleep(600)")
    exit_ = await runs.finish(bounded(runs, how, *lines))
    assert cause(exit_) is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize("how", HOWS)
async def test_one_run_above_its_memory_dies_alone(runs: Runs, how: str) -> None:
    """Its neighbour goes on and ends well."""
    go = runs.root / "go"
    lines = ("import os, time", "x = bytearray(100_000_000)", "print('ready', flush=True)")
    wait = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    quiet = await Run.start(bounded(runs, how, *lines, wait))
    await runs.says(b"ready")
    loud = await runs.finish(
        replace(bounded(runs, how, *FILL, "fill()"), output=runs.root / "other")
    )
    go.touch()
    exit_ = await ended(quiet)
    await quiet.forget()
    assert cause(loud) is Cause.OUT_OF_MEMORY
    assert (exit_.code, exit_.oom_kills) == (0, 0)


#: Fills its bound with what it writes, several times over, and ends well.
WRITES = (
    "import os, sys",
    "block = os.urandom(1 << 20)",
    "with open('large', 'wb', buffering=0) as file:",
    "    for _ in range(600): file.write(block)",
)


@pytest.mark.parametrize("how", HOWS)
async def test_what_a_run_writes_costs_it_no_memory(runs: Runs, how: str) -> None:
    """The cache of its files fills its bound, is given back, and nobody is ended for it."""
    exit_ = await runs.finish(bounded(runs, how, *WRITES, memory=SMALL))
    assert (exit_.reason, exit_.code, exit_.oom_kills) == (exits.EXITED, 0, 0), exit_.detail
    assert cause(exit_) is Cause.COMPLETED


@pytest.mark.parametrize("how", HOWS)
async def test_a_run_that_writes_much_and_takes_too_much_is_told_which(
    runs: Runs, how: str
) -> None:
    """Its memory is the cause, with the amount that it asked for."""
    exit_ = await runs.finish(bounded(runs, how, *WRITES, *FILL, "fill()", memory=SMALL))
    assert cause(exit_) is Cause.OUT_OF_MEMORY
    assert "the 64 MB of memory that it asked for" in exit_.detail


async def test_memory_that_children_share_counts_once(runs: Runs) -> None:
    """Eight children of a script that holds much are not eight times as much."""
    lines = ("import os, time", "x = bytearray(120_000_000)", "def child():", "    time.sleep(1.5)")
    forks = ("pids = []", "for _ in range(8):", "    pid = os.fork()", "    if pid == 0:")
    rest = (
        "        child(); os._exit(0)",
        "    pids.append(pid)",
        "for p in pids: os.waitpid(p, 0)",
    )
    exit_ = await runs.finish(bounded(runs, "measure", *lines, *forks, *rest))
    assert (exit_.reason, exit_.code) == (exits.EXITED, 0), exit_.detail
    assert exit_.peak_memory < MEMORY


@pytest.mark.parametrize("how", HOWS)
async def test_who_asked_for_no_memory_may_use_the_machines(runs: Runs, how: str) -> None:
    """It is held to what there is for all experiments, and told that it was that."""
    spec = bounded(runs, how, *FILL, "fill()", memory_asked=False)
    exit_ = await runs.finish(spec)
    assert cause(exit_) is Cause.OUT_OF_MEMORY
    assert "that this machine gives to experiments" in exit_.detail


@by_groups
async def test_the_machines_own_margin_is_kept(runs: Runs) -> None:
    """In a container that fills up, the run that took most beyond its booking goes, not another."""
    homes = hierarchies.homes()
    if "memory" not in homes.v1:
        pytest.skip("takes memory groups of version 1")
    container = Path(homes.v1["memory"]) / f"container-{os.getpid()}"
    container.mkdir()
    try:
        groups.write(f"{container}/memory.limit_in_bytes", 700_000_000)
        code = _TWO_RUNS.format(root=str(runs.root), repository=str(Path(__file__).parents[2]))
        with (container / "cgroup.procs").open("w") as procs:
            enter = procs.fileno()
            said = await anyio.run_process(
                [sys.executable, "-c", code, str(enter)],
                pass_fds=(enter,),
                stderr=None,
                cwd=Path(__file__).parents[2],
            )
        quiet, loud = json.loads(said.stdout)
        assert (quiet["reason"], quiet["code"]) == ("exited", 0)
        assert loud["reason"] == "out-of-memory"
        assert "of memory were left on the machine" in loud["detail"]
    finally:
        await until(lambda: not (container / "cgroup.procs").read_text())
        groups.remove([str(container)])


_TWO_RUNS = """
import json, os, sys
os.write(int(sys.argv[1]), b"0")
import anyio
from dataclasses import asdict, replace
from pathlib import Path
from runner.lifecycle.runs.run import Run
from runner.model import Bytes
from runner.sandboxes.base import Bounds
from tests.lifecycle.runs import Runs, ended, python

async def main():
    runs = Runs(Path({root!r}))
    held = Bounds(memory=Bytes(10**12), memory_asked=False, enforce="measure")
    go = runs.root / "go"
    wait = "while not os.path.exists(" + repr(str(go)) + "): time.sleep(0.01)"
    quiet = runs.spec(python("import os, time", "x = bytearray(100_000_000)", "print(1)", wait))
    lines = ("import time", "held = []", "while True:", "    held.append(bytearray(10**6))")
    loud = runs.spec(python(*lines, "    time.sleep(0.004)"), output=runs.root / "other")
    first = await Run.start(replace(quiet, bounds=held))
    second = await Run.start(replace(loud, bounds=held))
    ends = [await ended(second)]
    go.touch()
    ends.insert(0, await ended(first))
    for run in (first, second):
        await run.forget()
    told = [dict(reason=end.reason, code=end.code, detail=end.detail) for end in ends]
    sys.stdout.write(json.dumps(told))

anyio.run(main)
"""


# ----------------------------------------------------------------------------- processes, cores

BOMB = ("import os, time", "while True:", "    if os.fork() == 0: time.sleep(600)")


@pytest.mark.parametrize("how", HOWS)
async def test_a_run_of_too_many_processes_has_a_name(runs: Runs, how: str) -> None:
    """The kernel refuses more, or the run is ended when it is seen to have more."""
    exit_ = await runs.finish(bounded(runs, how, *BOMB))
    assert cause(exit_) is Cause.TOO_MANY_PROCESSES
    assert "--pids-limit" in exit_.detail
    assert exit_.survivors == 0


@as_root
async def test_the_kernel_counts_for_a_user_of_the_runs_own(runs: Runs) -> None:
    """Also where there are no groups: more are refused before anybody looks."""
    lines = ("import os, time", "while True:", "    if os.fork() == 0: time.sleep(600)")
    spec = bounded(runs, "measure", *lines, own_user=True)
    theirs = ("/usr/bin/python3", *spec.launch.argv[1:])
    launch = replace(spec.launch, argv=theirs, identity=Identity(64_999, 64_999))
    exit_ = await runs.finish(replace(spec, launch=launch))
    assert (exit_.reason, exit_.code) == (exits.EXITED, 1)
    assert b"BlockingIOError" in runs.said()


@by_groups
async def test_threads_count_as_processes(runs: Runs) -> None:
    """A script that is refused one, and lives with it, has not failed."""
    lines = (
        "import threading, time",
        "def start():",
        "    while True: threading.Thread(target=time.sleep, args=(0.5,)).start()",
        "try: start()",
        "except RuntimeError: print('refused', threading.active_count())",
    )
    exit_ = await runs.finish(bounded(runs, "cgroup", *lines))
    refused, count = runs.said().split()
    assert (refused, exit_.code, cause(exit_)) == (b"refused", 0, Cause.COMPLETED)
    assert 60 < int(count) < 80


@by_groups
@pytest.mark.parametrize("is_hard", [True, False])
async def test_a_run_gets_its_cores(runs: Runs, *, is_hard: bool) -> None:
    """As a quota of time where idle cores are not for it, else as its share of busy ones."""
    spec = bounded(runs, "cgroup", "import time; time.sleep(600)", cores=2, hard_cores=is_hard)
    run = await Run.start(spec)
    await recorded(run)
    found = {path.name: path.read_text() for one in directories(run) for path in one.glob("cpu.*")}
    await run.end()
    await run.forget()
    quota = found.get("cpu.cfs_quota_us") or found["cpu.max"]
    assert quota.split()[0] == ("200000" if is_hard else "-1")
    assert found.get("cpu.shares", "2048").strip() == "2048"


# ----------------------------------------------------------------------------- around the groups


@by_groups
async def test_a_supervisor_is_not_in_what_its_run_can_fill(runs: Runs) -> None:
    """All processes of the run are, and nobody else."""
    lines = (*DAEMON, "daemon(lambda: time.sleep(600))", "print('ready', flush=True)")
    run = await Run.start(bounded(runs, "cgroup", *lines, "time.sleep(600)"))
    await runs.says(b"ready")
    supervisor = await recorded(run)
    family = {process.pid for process in processes.descendants(supervisor)}
    for place in directories(run):
        assert {int(pid) for pid in (place / "cgroup.procs").read_text().split()} == family
    await run.end()
    await run.forget()


@by_groups
async def test_nothing_is_left_of_the_groups(runs: Runs) -> None:
    """They are gone when the run is, whatever it left behind."""
    lines = (*DAEMON, "daemon(lambda: time.sleep(600))", "print('ready', flush=True)")
    run = await Run.start(bounded(runs, "cgroup", *lines, "time.sleep(0.3)"))
    await recorded(run)
    places = directories(run)
    assert places
    assert all(place.is_dir() for place in places)
    await ended(run)
    await run.forget()
    assert not any(place.exists() for place in places)


@by_groups
async def test_a_killed_supervisors_groups_find_who_hides(runs: Runs) -> None:
    """A process that shed its variables, its session and its parents is found, the groups go."""
    lines = (
        *DAEMON,
        "def hide(): os.execve('/bin/sleep', ['sleep', '600'], {})",
        "if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork() == 0: os.setsid(); hide()",
        "    os._exit(0)",
        "os.wait()",
        "print('ready', flush=True)",
        "time.sleep(600)",
    )
    run = await Run.start(bounded(runs, "cgroup", *lines))
    await runs.says(b"ready")
    supervisor = await recorded(run)
    places = directories(run)
    family = {process.pid: process.started for process in processes.descendants(supervisor)}
    os.kill(supervisor, signal.SIGKILL)
    exit_ = await ended(run)
    await run.forget()
    assert exit_.reason == exits.VANISHED
    assert not [one for one in processes.everyone() if family.get(one.pid) == one.started]
    assert not any(place.exists() for place in places)


@by_groups
async def test_a_run_that_is_ended_without_a_word_leaves_no_groups(runs: Runs) -> None:
    """Its supervisor is killed with it, and removes nothing."""
    run = await Run.start(bounded(runs, "cgroup", "import time; time.sleep(600)"))
    await recorded(run)
    places = directories(run)
    assert places
    await run.end()
    assert not any(place.exists() for place in places)
    await run.forget()


@by_groups
def test_what_nobody_holds_is_swept() -> None:
    """Groups of runs whose supervisors were killed go; those of others that are being made stay."""
    homes = hierarchies.homes()
    left = groups_of(f"left-{os.getpid()}", homes)
    left.make(0, 0, 0)
    held = groups_of(f"held-{os.getpid()}", homes)
    held.make(0, 0, 0)
    for descriptor in left._held:
        os.close(descriptor)
    left._held.clear()
    groups.sweep(homes)
    try:
        assert not any(Path(one).exists() for one in left.directories)
        assert all(Path(one).is_dir() for one in held.directories)
    finally:
        held.remove()
    assert not any(Path(one).exists() for one in held.directories)


@by_groups
def test_a_group_full_of_cache_is_not_short_of_memory(tmp_path: Path) -> None:
    """What the kernel ends for the whole machine's sake is not told as its own excess."""
    homes = hierarchies.homes()
    held = groups_of(f"cache-{os.getpid()}", homes)
    held.make(SMALL, 0, 0)
    try:
        within(held, *WRITES, cwd=tmp_path)
        assert not held.was_full()
        assert within(held, *FILL, "fill()", cwd=tmp_path) == -signal.SIGKILL
        assert (held.was_full(), held.oom_kills()) == (True, 1)
        assert held.was_full()
    finally:
        held.remove()


def within(held: groups.Groups, *lines: str, cwd: Path) -> int:
    """Run lines of Python in these groups, and return how they ended."""
    code = "import os; os.read(0, 1)\n" + "\n".join(lines)
    with subprocess.Popen([sys.executable, "-c", code], cwd=cwd, stdin=subprocess.PIPE) as process:
        for place in held.directories:
            groups.write(f"{place}/cgroup.procs", process.pid)
        process.communicate(b"1")
    return process.returncode


@by_groups
@pytest.mark.service("bwrap")
async def test_walls_stand_within_the_bounds(runs: Runs) -> None:
    """Bubblewrap and what it starts are in the groups: what fills the private /tmp is counted."""
    spec = bounded(runs, "cgroup")
    command = Command(
        ("/bin/sh", "-c", "exec 2>&1; dd if=/dev/zero of=/tmp/large bs=1M count=400; echo $?"),
        runs.root,
        {"PATH": "/usr/bin:/bin"},
        writable=(runs.root,),
    )
    exit_ = await runs.finish(replace(spec, launch=BwrapSandbox().launch(command)))
    assert cause(exit_) is Cause.OUT_OF_MEMORY, (exit_, runs.said())


# ----------------------------------------------------------------------------- an ordinary user


@as_root
async def test_an_ordinary_user_is_measured(runs: Runs) -> None:
    """Where no groups can be made the same is ended for the same reason."""
    give(runs.root)
    record = ending(*_supervised(bounded(runs, "measure", *PARENT, "sys.exit(1)")))
    assert record["reason"] == "out-of-memory"
    assert "of the 200 MB of memory that it asked for" in record["detail"]


@as_root
async def test_without_groups_a_run_is_measured_or_does_not_start(runs: Runs) -> None:
    """Those that were promised and then fail are no reason to run unbounded."""
    give(runs.root)
    record = ending(*_supervised(bounded(runs, "cgroup", *FILL, "fill()")))
    assert record["reason"] == "out-of-memory"
    strict = bounded(runs, "cgroup", "print('ran')", enforce_strictly=True)
    record = ending(*_supervised(strict))
    assert record["reason"] == exits.SANDBOX_UNAVAILABLE
    assert "control groups of its own" in record["detail"]
    assert runs.said() == b""


def _supervised(spec: RunSpec) -> tuple[RunSpec, subprocess.Popen[bytes]]:
    """Start it as that user, who may not be able to read our own interpreter."""
    theirs = replace(spec.launch, argv=("/usr/bin/python3", *spec.launch.argv[1:]))
    spec = replace(spec, launch=theirs)
    return spec, supervised(spec)
