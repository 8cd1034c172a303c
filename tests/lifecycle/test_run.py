"""Runs are real: processes that behave, misbehave, and are killed together with their owners."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import HostFault, OutOfDisk
from runner.lifecycle import exits
from runner.lifecycle.run import Run, RunGone, RunTaken
from runner.model import Cause
from runner.sandboxes.base import Identity
from runner.supervisor import processes
from tests.lifecycle.runs import PATIENCE, Runs, ended, python, runs_below, until

pytestmark = pytest.mark.anyio

NOBODY = Identity(65534, 65534)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


STARTER = """
import sys
from datetime import timedelta
from pathlib import Path
import anyio
from runner.lifecycle.run import Run, RunSpec
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


def supervisor_of(run: Run) -> int:
    """Return the supervisor's pid as its record tells it."""
    record: dict[str, int] = json.loads((run.directory / "supervisor.json").read_bytes())
    return record["pid"]


def peak_kib(pid: int) -> int:
    """Return the greatest resident size that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def pieces(run: Run) -> dict[str, bytes]:
    """Return the pieces of output that may still be left out, but for those just going."""
    found = {}
    for path in run.directory.glob("tail.*"):
        with suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB."""
    place.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", str(place)], check=True)


@contextmanager
def another_daemon(root: Path, run_id: str) -> Iterator[None]:
    """Start a run from another process, which is SIGKILLed at the end of the block."""
    command = [sys.executable, "-c", STARTER, str(root), run_id]
    with subprocess.Popen(command, env={"PYTHONPATH": str(Path(__file__).parents[2])}) as daemon:
        try:
            yield
        finally:
            daemon.kill()


async def recorded(run: Run) -> int:
    """Wait for the supervisor's record and return its pid."""
    await until((run.directory / "supervisor.json").exists)
    return supervisor_of(run)


# ----------------------------------------------------------------------------- how it ended


@pytest.mark.parametrize("code", [0, 1, 2, 127, 128, 137, 255])
async def test_the_exit_code_is_the_experiments(runs: Runs, code: int) -> None:
    """Whatever an experiment exits with is recorded, and by a code of its own no signal."""
    exit_ = await runs.finish(runs.spec(("/bin/sh", "-c", f"exit {code}")))
    assert (exit_.reason, exit_.code, exit_.signal, exit_.stopped_for) == (
        exits.EXITED,
        code,
        None,
        None,
    )


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_signal_is_told_from_a_code(runs: Runs, signum: signal.Signals) -> None:
    """An experiment that died of a signal has no exit code."""
    exit_ = await runs.finish(runs.spec(("/bin/sh", "-c", f"kill -{signum.value} $$")))
    assert (exit_.reason, exit_.code, exit_.signal) == (exits.EXITED, None, signum)


async def test_the_record_holds_the_evidence(runs: Runs) -> None:
    """Times, bytes and memory are measured, each in its unit."""
    code = "print('x' * 999); b = bytearray(50_000_000); sum(range(10**6))"
    exit_ = await runs.finish(runs.spec(python(code)))
    assert exit_.output_total == 1000
    assert exit_.output_cut == 0
    assert 50_000_000 < exit_.peak_memory < 500_000_000
    assert timedelta(0) < exit_.cpu_time
    assert timedelta(0) < exit_.duration
    assert exit_.started_at <= exit_.ended_at
    assert not exit_.disk_full
    assert exit_.survivors == 0


async def test_nothing_is_left_on_disk(runs: Runs) -> None:
    """After ``forget`` the run's directory is gone; only the output stays."""
    await runs.finish(runs.spec(("/bin/echo", "hello")))
    assert [path.name for path in runs.root.iterdir()] == ["output"]


async def test_a_missing_directory_is_a_start_that_failed(runs: Runs) -> None:
    """The sentence names the directory."""
    exit_ = await runs.finish(runs.spec(("/bin/true",), cwd=runs.root / "gone"))
    assert exit_.reason == exits.START_FAILED
    assert exit_.detail == (
        f"the working directory '{runs.root}/gone' cannot be entered: No such file or directory"
    )


async def test_a_missing_program_is_a_start_that_failed(runs: Runs) -> None:
    """The sentence names the program, found by path or not."""
    for program in ("/no/such/program", "no-such-program"):
        exit_ = await runs.finish(runs.spec((program,)))
        assert exit_.reason == exits.START_FAILED
        assert exit_.detail == f"'{program}' cannot be executed: No such file or directory"
        assert exit_.code is None


async def test_a_nul_in_an_argument_is_a_start_that_failed(runs: Runs) -> None:
    """What no process can be given is told, and nothing else happens."""
    exit_ = await runs.finish(runs.spec(("/bin/echo", "a\0b")))
    assert exit_.reason == exits.START_FAILED
    assert "Invalid argument" in exit_.detail


async def test_an_output_that_cannot_be_opened_is_a_start_that_failed(runs: Runs) -> None:
    """Without a place for its output an experiment is not run; a link there is not followed."""
    victim = runs.root / "victim"
    victim.write_text("precious")
    (runs.root / "link").symlink_to(victim)
    exit_ = await runs.finish(runs.spec(("/bin/echo", "x"), output=runs.root / "link"))
    assert exit_.reason == exits.START_FAILED
    assert "Too many levels of symbolic links" in exit_.detail
    assert victim.read_text() == "precious"


# ----------------------------------------------------------------------------- what it is given


async def test_arguments_and_environment_arrive_byte_for_byte(runs: Runs) -> None:
    """Nothing is read by a shell, and nothing is added but the run's mark."""
    nasty = ["", " ", "'\"", "a\nb", "; rm -rf /", "$(id)", "`id`", "%SLACK_HOOK%", "ü", "\udcff"]
    code = (
        "import os, sys",
        "sys.stdout.buffer.write(repr((list(map(os.fsencode, sys.argv[1:])),",
        "  sorted(os.environb.items()))).encode())",
    )
    env = {f"V{i}": value for i, value in enumerate(nasty)} | {"LC_ALL": "C.UTF-8"}
    spec = runs.spec((*python(*code), *nasty), env=env)
    await runs.finish(spec)
    mark = {"STUDIO_RUNNER_RUN": spec.run_id}
    expected = sorted((os.fsencode(k), os.fsencode(v)) for k, v in (env | mark).items())
    assert runs.said().decode() == repr((list(map(os.fsencode, nasty)), expected))


async def test_half_a_surrogate_pair_does_not_stop_a_run(runs: Runs) -> None:
    """What JSON can carry and UTF-8 cannot is passed on as its three bytes."""
    await runs.finish(runs.spec(("/bin/echo", "\ud800")))
    assert runs.said() == b"\xed\xa0\x80\n"


async def test_the_process_starts_clean(runs: Runs) -> None:
    """No descriptor of ours, no signal ignored or blocked, umask 022, its own session, no stdin."""
    code = (
        "import os, signal, sys",
        "fds = [f for f in map(int, os.listdir('/proc/self/fd')) if f > 2]",
        "alive = [f for f in fds if os.path.exists(f'/proc/self/fd/{f}')]",
        "status = dict(l.split(':\\t', 1) for l in open('/proc/self/status') if ':\\t' in l)",
        "print(alive, os.umask(0), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))",
        # Python ignores SIGPIPE and SIGXFSZ itself; glibc's posix_spawn 32 and 33, its own.
        "ours = 1 << 12 | 1 << 24 | 1 << 31 | 1 << 32",
        "print(int(status['SigBlk'], 16), int(status['SigIgn'], 16) & ~ours)",
        "print(status['NoNewPrivs'].strip(), int(open('/proc/self/oom_score_adj').read()) >= 500)",
    )
    read, write = os.pipe()
    os.set_inheritable(write, True)  # noqa: FBT003 - the parameter has no name
    try:
        await runs.finish(runs.spec(python(*code)))
    finally:
        os.close(read)
        os.close(write)
    assert runs.said().decode().splitlines() == ["[] 18 True ''", "0 0", "1 True"]


async def test_a_broken_pipe_ends_a_shell_pipeline(runs: Runs) -> None:
    """SIGPIPE is not ignored, as it would be in a child of Python that forgot it."""
    exit_ = await runs.finish(runs.spec(("/bin/sh", "-c", "yes | head -n 1")))
    assert (exit_.code, runs.said()) == (0, b"y\n")


async def test_both_streams_keep_their_order(runs: Runs) -> None:
    """Lines written alternately to both streams come alternately."""
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done"
    await runs.finish(runs.spec(("/bin/sh", "-c", script)))
    assert runs.said().split() == [f"{s}{i}".encode() for i in range(1, 10) for s in "oe"]


@needs_root
async def test_an_experiment_runs_as_another_user(runs: Runs) -> None:
    """User, group and no further groups; and setuid programs give it nothing back."""
    for path in (runs.root, *runs.root.parents[:3]):
        path.chmod(0o755)
    spec = runs.spec(("grep", "-E", "Uid|Gid|Groups", "/proc/self/status"), identity=NOBODY)
    exit_ = await runs.finish(spec)
    assert exit_.code == 0
    ids = ["65534"] * 4
    assert runs.said().decode().split() == ["Uid:", *ids, "Gid:", *ids, "Groups:"]


@needs_root
async def test_a_readonly_bind_stops_even_root(runs: Runs) -> None:
    """The directory cannot be changed from within the run, and stays writable outside."""
    shared = runs.root / "shared"
    shared.mkdir()
    (shared / "file").write_text("before")
    script = f"cat {shared}/file; echo after > {shared}/file; touch {shared}/new; true"
    exit_ = await runs.finish(runs.spec(("/bin/sh", "-c", script), readonly=(shared,)))
    assert exit_.code == 0
    assert runs.said().startswith(b"before")
    assert runs.said().count(b"Read-only file system") == 2
    assert [path.name for path in shared.iterdir()] == ["file"]
    (shared / "file").write_text("outside")


async def test_binds_that_cannot_be_made_are_the_operators_matter(runs: Runs) -> None:
    """The experiment is not run without the wall it was to have."""
    spec = runs.spec(("/bin/echo", "ran"), readonly=(runs.root / "gone",))
    exit_ = await runs.finish(spec)
    assert exit_.reason == exits.SANDBOX_UNAVAILABLE
    assert exit_.stopped_for is None
    assert "read-only" in exit_.detail
    assert runs.said() == b""


# ----------------------------------------------------------------------------- output


async def test_output_is_appended_to_what_is_there(runs: Runs) -> None:
    """Earlier attempts and the daemon's own lines stay."""
    runs.output.write_text("attempt 1\n")
    await runs.finish(runs.spec(("/bin/echo", "attempt 2"), output_limit=10))
    assert runs.said() == b"attempt 1\nattempt 2\n"


async def test_too_much_output_keeps_both_ends(runs: Runs) -> None:
    """The first and the last part, and between them one line that says how much is missing."""
    code = "for i in range(200_000): print(f'{i:07}')"
    exit_ = await runs.finish(runs.spec(python(code), output_limit=64_000))
    lines = runs.said().split(b"\n")
    notes = [line for line in lines if line.startswith(b"[studio-runner: ")]
    assert lines[0] == b"0000000"
    assert lines[-2] == b"0199999"
    assert len(notes) == 1
    assert f"{exit_.output_cut} bytes were left out".encode() in notes[0]
    assert exit_.output_total == 1_600_000
    kept = len(runs.said()) - len(notes[0]) - 2
    assert kept == exit_.output_total - exit_.output_cut
    assert kept <= 64_000


async def test_a_line_of_100_mb_costs_no_memory(runs: Runs) -> None:
    """A single endless line is bounded like any output, and the supervisor stays small."""
    code = (
        "import os, time",
        "block = b'x' * 1_000_000",
        "for _ in range(100): os.write(1, block)",
    )
    wait = "while not os.path.exists('go'): time.sleep(0.01)"
    spec = runs.spec(python(*code, wait), output_limit=1_000_000)
    run = await Run.start(spec)
    pid = await recorded(run)
    await until(lambda: any(int(name[5:]) > 99_000_000 for name in pieces(run)))
    peak = peak_kib(pid)
    (runs.root / "go").touch()
    exit_ = await ended(run)
    await run.forget()
    assert peak < 25 * 1024
    assert exit_.output_total == 100_000_000
    assert runs.output.stat().st_size < 1_001_000


async def test_output_can_be_followed(runs: Runs) -> None:
    """What an experiment has written is in the file while it runs."""
    run = await Run.start(runs.spec(("/bin/sh", "-c", "echo ready; sleep 600")))
    await runs.says(b"ready\n")
    await run.stop(Cause.CANCELLED)
    await ended(run)
    await run.forget()


@needs_root
async def test_a_full_disk_is_noted_and_does_not_hang_the_run(runs: Runs) -> None:
    """The experiment runs to its end, and the record has its code and says that space lacked."""
    with small_disk(runs.root / "small") as small:
        code = "import sys; sys.stdout.write('x' * 5_000_000); sys.exit(3)"
        spec = runs.spec(
            python(code),
            directory=small / "run",
            output=small / "output",
            output_limit=100_000_000,
        )
        run = await Run.start(spec)
        exit_ = await ended(run)
        assert (exit_.code, exit_.disk_full) == (3, True)
        assert exit_.output_total == 5_000_000
        assert exit_.output_total - exit_.output_cut == (small / "output").stat().st_size
        with pytest.raises(OutOfDisk, match="cannot be started"):
            await Run.start(
                runs.spec(("/bin/true",), directory=small / "next", env={"X": "x" * 300_000})
            )
        await run.forget()


# ----------------------------------------------------------------------------- ending it


async def test_a_time_limit_ends_the_run(runs: Runs) -> None:
    """The earliest limit is the cause, and TERM is heard."""
    script = "trap 'echo heard; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    limits = {Cause.TIME_LIMIT: timedelta(seconds=0.5), Cause.LIFETIME: timedelta(hours=1)}
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
        "import signal, time",
        "signal.signal(15, lambda *_: print('heard', flush=True))",
        "print('ready', flush=True)",
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
        "import signal, time",
        "signal.signal(15, lambda *_: print('heard', flush=True))",
        "print('ready', flush=True)",
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


# ----------------------------------------------------------------------------- whole trees

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
    code = (
        *DAEMON,
        "def last(*_):",
        "    print('last words', flush=True)",
        "    os._exit(0)",
        "def stay():",
        "    signal.signal(signal.SIGTERM, last)",
        "    open('ready', 'w').close()",
        "    time.sleep(600)",
        "daemon(stay)",
        "while not os.path.exists('ready'): time.sleep(0.01)",
    )
    exit_ = await runs.finish(runs.spec(python(*code)))
    assert exit_.code == 0
    assert runs.said() == b"last words\n"


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


# ----------------------------------------------------------------------------- who looks after it


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
    await until(lambda: any(b"the end" in p.read_bytes() for p in run.directory.glob("tail.*")))
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
