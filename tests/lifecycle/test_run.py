"""Runs are real: processes that behave, misbehave, and are killed together with their owners."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from runner.lifecycle.runs import exits
from runner.sandboxes.base import Identity
from tests.lifecycle.runs import Runs, python, runs_below
from tests.passage import open_to_all

pytestmark = pytest.mark.anyio

NOBODY = Identity(65534, 65534)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs, without any left afterwards."""
    async with runs_below(tmp_path) as found:
        yield found


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
    open_to_all(runs.root)
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
