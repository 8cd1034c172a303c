"""How runs are bounded is tried when the daemon starts, and said once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.app.bounds import bounding, choose
from runner.errors import Misconfigured
from runner.lifecycle.runs.bounding import Bounding
from runner.model import Allocation, Bytes
from runner.sandboxes.base import Bounds
from runner.settings import Settings

pytestmark = pytest.mark.anyio

SHARE = Allocation(2, Bytes(10**9), Bytes(0))
TOTAL = Bytes(10**10)
NO_SLICE = ""
#: No systemd here gives scopes in it, so a trial fails.
NO_SUCH = "no-such.slice"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be an ordinary user")


def settings(*words: str) -> Settings:
    """Read a command line."""
    return Settings.load(words, {})


@pytest.mark.service("cgroups")
async def test_auto_takes_groups_where_they_work() -> None:
    """And the sentence says what they bound."""
    choice = await choose("auto", NO_SLICE)
    assert choice.how == "cgroup"
    assert "memory" in choice.why


async def test_auto_measures_where_groups_do_not_work() -> None:
    """And the reason is kept for the log and the doctor."""
    choice = await choose("auto", NO_SUCH)
    assert choice.how == "measure"
    assert choice.trouble


async def test_groups_that_are_demanded_and_missing_end_the_daemon() -> None:
    """With the reason and two ways out, never silently."""
    with pytest.raises(Misconfigured, match=r"--enforce cgroup cannot be had .*--?auto|measure"):
        await choose("cgroup", NO_SUCH)


async def test_the_options_become_rules() -> None:
    """Each of them, for every run."""
    found = await bounding(
        settings("--enforce", "measure", "--pids-limit", "7", "--hard-cores", "false"), NO_SLICE
    )
    assert found == Bounding("measure", is_strict=False, pids=7, hard_cores=False)
    assert await bounding(settings("--enforce", "off"), NO_SLICE) == Bounding(pids=4096)


def test_a_run_is_held_to_what_it_asked_for() -> None:
    """Its memory and cores are those of its share."""
    held = Bounding("cgroup", is_strict=True, pids=9).of(SHARE, TOTAL)
    assert held == Bounds(
        memory=Bytes(10**9), cores=2, pids=9, enforce="cgroup", enforce_strictly=True
    )


def test_a_run_that_asked_for_no_memory_may_have_what_there_is() -> None:
    """It did not ask to be ended."""
    held = Bounding("cgroup").of(Allocation(1, Bytes(0), Bytes(0)), TOTAL)
    assert (held.memory, held.memory_asked) == (TOTAL, False)


@as_root
def test_an_ordinary_user_cannot_make_groups() -> None:
    """The trial says so, and exits with 1."""
    script = Path(__file__).parents[2] / "runner/supervisor/bounds_trial.py"
    code = (
        "import os, sys, runpy; sys.path.append(sys.argv[2]);"
        "from runner.supervisor import grouping, hierarchies, groups_v2, scope;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "path, sys.argv = sys.argv[1], ['trial'];"
        "exec(compile(source, path, 'exec'), {'__name__': '__main__', '__file__': path})"
    )
    code = f"source = open({str(script)!r}).read();{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(script), str(script.parents[2])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "denied" in done.stderr.lower() or "Delegate=yes" in done.stderr
