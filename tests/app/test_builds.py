"""Builds of environments in control groups: bounded, told, and nothing is left of them."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.app.builds import held_builds
from runner.model import Bytes
from runner.sandboxes.base import Bounds
from runner.supervisor.bounds import CGROUP, MEASURE

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
BOUNDS = Bounds(memory=Bytes(1 << 30), pids=64, enforce=CGROUP)
#: Enters the groups, and stays there without a word in its environment that tells whose it is.
STAYS = """
import os, sys, time
for place in sys.argv[1:]:
    with open(place + "/cgroup.procs", "w") as file:
        file.write("0")
if os.fork() == 0:
    os.setsid()
    print("in", flush=True)
    time.sleep(1000)
time.sleep(1000)
"""


def entered(groups: Sequence[str]) -> subprocess.Popen[bytes]:
    """Return a process that is in there, with a child that has left its session."""
    words = [sys.executable, "-I", "-S", "-c", STAYS, *groups]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env={})
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return process


def left(groups: Sequence[str]) -> list[str]:
    """Return those that are there."""
    return [place for place in groups if Path(place).exists()]


def nobody(_: str) -> None:
    """Nothing is too much here."""
    raise AssertionError


@pytest.mark.service("cgroups")
async def test_who_has_shed_all_marks_of_a_build_is_ended_with_it() -> None:
    """No session, no parent and no variable tells whose it is; nobody leaves a group."""
    with anyio.fail_after(PATIENCE):
        async with held_builds(BOUNDS)(secrets.token_hex(6), nobody) as groups:
            process = await anyio.to_thread.run_sync(entered, groups)
        with process:
            assert process.wait() == -9
            assert process.stdout is not None
            assert process.stdout.read() == b""  # its child had it, too
    assert left(groups) == []


@pytest.mark.service("cgroups")
async def test_a_build_that_is_cancelled_leaves_no_group() -> None:
    """Nor whoever was in it."""
    groups: Sequence[str] = ()
    with anyio.CancelScope() as scope:
        async with held_builds(BOUNDS)(secrets.token_hex(6), nobody) as groups:
            scope.cancel()
            await anyio.sleep_forever()
    assert groups
    assert left(groups) == []


async def test_where_there_are_no_groups_a_build_enters_none() -> None:
    """It is measured."""
    bounds = Bounds(memory=Bytes(1 << 30), enforce=MEASURE)
    async with held_builds(bounds)(secrets.token_hex(6), nobody) as groups:
        assert groups == ()
