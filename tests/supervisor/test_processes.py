"""Processes are recognised by what they cannot shed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.supervisor import processes

SLEEP = ["/bin/sleep", "600"]


@contextmanager
def sleeping(env: dict[str, str], *, session: bool = True) -> Iterator[int]:
    """Run a process that does nothing, and give its pid."""
    with subprocess.Popen(SLEEP, env=env, start_new_session=session) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def pids(found: list[processes.Process]) -> set[int]:
    """Return the pids of some processes."""
    return {process.pid for process in found}


def test_a_process_is_known_by_its_start() -> None:
    """Looked at twice it is the same; one that is gone is nothing."""
    with sleeping({}) as pid:
        first, second = processes.look(pid), processes.look(pid)
        assert first is not None
        assert second is not None
        assert (first.pid, first.parent, first.session) == (pid, os.getpid(), pid)
        assert first.started == second.started
    assert processes.look(pid) is None


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    """Blanks and brackets in a program's name do not shift the fields behind it."""
    program = tmp_path / "a ) S 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "600"]) as process:
        try:
            found = processes.look(process.pid)
            assert found is not None
            assert found.parent == os.getpid()
        finally:
            process.kill()


def test_only_marked_processes_belong_to_a_run() -> None:
    """The mark counts whole: neither another run's, nor one that begins alike."""
    with (
        sleeping({"STUDIO_RUNNER_RUN": "r1"}) as ours,
        sleeping({"STUDIO_RUNNER_RUN": "r12"}),
        sleeping({"X": "STUDIO_RUNNER_RUN=r1"}),
        sleeping({}),
    ):
        assert pids(processes.of_run("r1")) == {ours}


def test_a_session_is_followed_without_a_mark() -> None:
    """A process without environment is found by the session that the run is known to have."""
    with sleeping({}) as leader:
        assert pids(processes.of_run("r1", leader)) == {leader}


def test_our_own_session_is_never_taken() -> None:
    """A marked process in the session of the one who looks does not condemn its neighbours."""
    with (
        sleeping({"STUDIO_RUNNER_RUN": "r1"}, session=False) as ours,
        sleeping({}, session=False),
    ):
        assert pids(processes.of_run("r1", os.getsid(0))) == {ours}


def test_killing_reaches_members_alone() -> None:
    """Members are gone, others live, and a second round finds none."""
    with sleeping({}) as bystander, sleeping({"STUDIO_RUNNER_RUN": "r1"}) as ours:
        assert len(processes.kill(processes.Members(run_id="r1"))) == 1
        os.waitid(os.P_PID, ours, os.WEXITED | os.WNOWAIT)
        assert not processes.kill(processes.Members(run_id="r1"))
        assert processes.look(bystander) is not None
