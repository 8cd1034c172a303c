"""Behind bubblewrap's walls an experiment starts, ends and is ended as everywhere else."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import Misconfigured
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Bytes, Cause
from runner.sandboxes.base import Command, Identity
from runner.sandboxes.bwrap import BwrapSandbox, homes
from runner.supervisor.processes import look, of_run
from tests.lifecycle.runs import DAEMON, ENV, Runs, end_of, ended, recorded, until
from tests.supervisor.test_mounts import ending, give, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.service("bwrap")]

NOBODY = Identity(65534, 65534)
PYTHON = "/usr/bin/python3"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")


def behind(runs: Runs, *argv: str, **changes: object) -> RunSpec:
    """Describe a command behind walls; it may write below ``runs.root``."""
    command = Command(argv, runs.root, ENV, writable=(runs.root,))
    spec = runs.spec(argv)
    sandbox = BwrapSandbox()
    return replace(spec, launch=sandbox.launch(replace(command, **changes)))  # type: ignore[arg-type] # fields by name


def shell(runs: Runs, script: str, **changes: object) -> RunSpec:
    """Describe a shell script."""
    return behind(runs, "/bin/sh", "-c", script, **changes)


def as_user(spec: RunSpec) -> RunSpec:
    """Return what an ordinary user's daemon would ask for."""
    return replace(spec, launch=replace(spec.launch, user_namespace=True))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_is_told_from_the_exit_code_that_looks_like_it(
    runs: Runs, number: signal.Signals
) -> None:
    """Who dies of a signal did that; who ends with 128 and more did just that."""
    died = await runs.finish(shell(runs, f"kill -{number.value} $$"))
    assert end_of(died) == (exits.EXITED, None, number)
    left = await runs.finish(shell(runs, f"exit {128 + number.value}"))
    assert end_of(left) == (exits.EXITED, 128 + number.value, None)


async def test_a_stop_reaches_the_experiment_and_its_answer_counts(runs: Runs) -> None:
    """Bubblewrap does not die of it before the experiment has saved its state."""
    script = "trap 'echo saved; exit 7' TERM; echo begun; while :; do sleep 0.05; done"
    run = await Run.start(shell(runs, script))
    await runs.says(b"begun")
    await run.stop(Cause.CANCELLED)
    exit_ = await ended(run)
    await run.forget()
    assert end_of(exit_) == ("cancelled", 7, None)
    assert b"saved" in runs.said()


async def test_what_it_leaves_behind_is_told_and_ended(runs: Runs) -> None:
    """A process that left its session hears TERM, and then nobody is left."""
    lines = (
        *DAEMON,
        "def act():",
        "    signal.signal(signal.SIGTERM, lambda *_: (print('told', flush=True), os._exit(0)))",
        "    print('ready', flush=True)",
        "    time.sleep(1000)",
        "daemon(act)",
        "time.sleep(0.5)",
    )
    exit_ = await runs.finish(behind(runs, PYTHON, "-c", "\n".join(lines)))
    assert end_of(exit_) == (exits.EXITED, 0, None)
    assert exit_.survivors == 0
    assert b"told" in runs.said()


async def test_nobody_outlives_a_supervisor_that_was_killed(runs: Runs) -> None:
    """The kernel ends all: bubblewrap goes, with it the first process, with it the others."""
    run = await Run.start(shell(runs, "(setsid sleep 1000 &); echo begun; exec sleep 1000"))
    await runs.says(b"begun")
    os.kill(await recorded(run), signal.SIGKILL)
    await until(lambda: of_run(run.run_id) == [])
    exit_ = await ended(run)
    assert exit_.reason == exits.VANISHED
    await run.forget()


async def test_a_limit_ends_even_who_hears_nothing(runs: Runs) -> None:
    """KILL is sent from outside, where all processes can be seen."""
    spec = shell(runs, "trap '' TERM; echo begun; (setsid sleep 1000 &); sleep 1000; sleep 1000")
    limits = {Cause.TIME_LIMIT: timedelta(seconds=0.3)}
    spec = replace(spec, limits=limits, grace=timedelta(seconds=0.2))
    exit_ = await runs.finish(spec)
    assert exit_.stopped_for == Cause.TIME_LIMIT
    assert exit_.survivors == 0


async def test_a_program_that_is_not_there_is_named(runs: Runs) -> None:
    """The error is the experiment's, in our words and not in bubblewrap's."""
    exit_ = await runs.finish(behind(runs, "/gone/program"))
    assert exit_.reason == exits.START_FAILED
    assert "'/gone/program' cannot be executed" in exit_.detail
    exit_ = await runs.finish(behind(runs, "/bin/true", cwd=runs.root / "gone"))
    assert exit_.reason == exits.START_FAILED
    assert "working directory" in exit_.detail


async def test_what_bubblewrap_says_reaches_the_operator(runs: Runs) -> None:
    """Walls that cannot be put up are the operator's matter, and the reason is in the record."""
    spec = behind(runs, "/bin/echo", "ran", writable=(Path("/gone"),))
    exit_ = await runs.finish(spec)
    assert exit_.reason == exits.SANDBOX_UNAVAILABLE
    assert "bubblewrap" in exit_.detail
    assert "/gone" in exit_.detail
    assert runs.said() == b""


async def test_a_place_that_is_not_there_yet_is_no_trouble(runs: Runs) -> None:
    """And it keeps nothing else from being hidden."""
    home = runs.root / "home"
    home.mkdir()
    (home / "secret").write_text("secret\n")
    spec = shell(
        runs,
        f"cat {home}/secret 2> /dev/null || echo hidden",
        writable=(),
        cwd=Path("/"),
        hidden=(home,),
        visible=(home / "store",),
    )
    assert (await runs.finish(spec)).code == 0
    assert runs.said() == b"hidden\n"


async def test_it_sees_no_processes_but_its_own(runs: Runs) -> None:
    """In its ``/proc`` there is bubblewrap's first process and what it started itself."""
    await runs.finish(shell(runs, "cd /proc; for p in [0-9]*; do cat $p/comm; done"))
    assert set(runs.said().split()) <= {b"bwrap", b"sh", b"cat"}


async def test_the_machine_is_read_only_and_what_everybody_writes_to_is_its_own(
    runs: Runs,
) -> None:
    """Nothing is left in the machine's ``/tmp`` and its like, and nothing of it is seen."""
    name = f"studio-runner-{runs.root.name}-{os.getpid()}"
    places = [Path(place, name) for place in ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr")]  # noqa: S108
    script = "\n".join(f"echo x > {path} && echo {path.parent}" for path in places)
    await runs.finish(shell(runs, f"{{ {script}\n}} 2> /dev/null"))
    assert runs.said().split() == [b"/tmp", b"/var/tmp", b"/dev/shm"]
    assert [path for path in places if path.exists()] == []


@as_root
async def test_root_has_no_powers_that_lead_out(runs: Runs) -> None:
    """It owns files, but mounts nothing, makes no devices and opens none."""
    script = (
        "touch mine && chown 5:5 mine && echo owned; mount -o remount,rw / || echo no mount; "
        "mknod disk b 8 0 || echo no device; echo x > /proc/sys/kernel/hostname || echo no setting"
    )
    await runs.finish(shell(runs, f"{{ {script}; }} 2> /dev/null"))
    said = runs.said().decode().splitlines()
    assert said == ["owned", "no mount", "no device", "no setting"]


@as_root
async def test_another_user_is_who_it_should_be(runs: Runs) -> None:
    """Without groups and powers, and it can write where everybody can."""
    script = "id -u; id -g; id -G; grep CapEff /proc/self/status; echo x > /dev/shm/x && echo ok"
    await runs.finish(shell(runs, script, identity=NOBODY))
    words = runs.said().decode().split()
    assert words == ["65534", "65534", "65534", "CapEff:", "0" * 16, "ok"]


@as_root
async def test_an_ordinary_user_has_walls_of_its_own(runs: Runs) -> None:
    """In user namespaces, without root's help; it stays who it is, and its death keeps its name."""
    script = "id -u; grep CapEff /proc/self/status; echo x > new; echo x > /tmp/x; kill -ABRT $$"
    spec = as_user(shell(runs, script))
    give(runs.root)
    record = ending(spec, supervised(spec))
    assert (record["reason"], record["signal"]) == (exits.EXITED, signal.SIGABRT), record
    assert runs.said().decode().split() == ["65534", "CapEff:", "0" * 16]
    assert (runs.root / "new").exists()


@as_root
async def test_an_ordinary_users_walls_fall_with_its_supervisor(runs: Runs) -> None:
    """The kernel's word holds over all the namespaces in between."""
    spec = as_user(shell(runs, "(setsid sleep 1000 &); echo begun; exec sleep 1000"))
    give(runs.root)
    supervisor = supervised(spec)
    await runs.says(b"begun")
    found = [process.pid for process in of_run(spec.run_id)]
    assert len(found) >= 5
    supervisor.kill()
    supervisor.wait()
    await until(lambda: not any(look(pid) for pid in found))


async def test_without_bubblewrap_the_remedy_is_named(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run is started in another way than was asked for."""
    monkeypatch.setattr("runner.sandboxes.bwrap._PLACES", "/gone")
    monkeypatch.setenv("PATH", "/gone")
    with pytest.raises(Misconfigured, match="apt-get install bubblewrap"):
        shell(runs, "true")


def test_a_home_directly_below_the_root_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's home is often ``/``: hiding that would hide everything."""
    for home in ("/", "/data", ""):
        monkeypatch.setenv("HOME", home)
        assert not {Path("/"), Path("/data")} & set(homes())
    monkeypatch.setenv("HOME", "/srv/people/ann")
    assert Path("/srv/people/ann") in homes()


async def test_its_directories_in_memory_hold_what_it_may_have_of_that(runs: Runs) -> None:
    """Whether or not anything else bounds its memory; that of others is not for its files."""
    script = (
        "for place in /tmp /var/tmp /dev/shm; do\n"
        "  head -c 9000000 /dev/zero > $place/fits || echo too little in $place\n"
        "  head -c 9000000 /dev/zero > $place/more 2>/dev/null && echo too much in $place\n"
        "done; echo tried"
    )
    spec = shell(runs, script, memory=Bytes(16_000_000))
    run = await Run.start(spec)
    assert (await ended(run)).code == 0
    await run.forget()
    assert spec.output.read_text() == "tried\n"
