"""Overlays and what is hidden, for each kind of user: root, root's other user, an ordinary one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.lifecycle.runs import exits
from runner.lifecycle.runs import spec as run_spec
from runner.lifecycle.runs.run import Run, RunSpec
from runner.sandboxes.base import Identity, Launch, Overlay
from runner.supervisor.processes import look as look_at
from tests.contracts.sandboxes import DAMAGE, look
from tests.lifecycle.runs import PATIENCE, Runs, ended, runs_below, until
from tests.passage import open_to_all

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be three kinds of user"),
]

NOBODY = Identity(65534, 65534)
REPOSITORY = Path(__file__).parents[2]

#: Everything is imported as root: the ordinary user may not be able to read the interpreter. Who
#: changed its user counts as secretive, which an ordinary process is not.
_AS_NOBODY = f"""
import ctypes, json, os, sys
sys.path.append({str(REPOSITORY)!r})
from runner.supervisor import probe, processes, syscalls, watch
from tests.passage import open_to_all
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs that everybody can pass through, without any left afterwards."""
    open_to_all(tmp_path)
    async with runs_below(tmp_path) as found:
        yield found


@pytest.fixture
def overlay(runs: Runs) -> Overlay:
    """A kept tree of the ordinary user, in a place that is closed to it."""
    closed = runs.root / "cache"
    lower = closed / "tree"
    (lower / "folder" / "sub").mkdir(parents=True)
    (lower / "file").write_text("before\n")
    (lower / "folder" / "inner").write_text("inner\n")
    private = runs.root / "private"
    target, upper, work = runs.root / "target", private / "upper", private / "work"
    for path in (target, private, upper, work):
        path.mkdir()
    give(lower, upper, work, target)
    closed.chmod(0o700)
    private.chmod(0o700)
    return Overlay(target, lower, upper, work)


def give(*roots: Path) -> None:
    """Make trees the ordinary user's."""
    for root in roots:
        for path in (root, *root.rglob("*")):
            os.chown(path, NOBODY.uid, NOBODY.gid, follow_symlinks=False)


def spec_of(runs: Runs, overlay: Overlay, script: str, **launch: Any) -> RunSpec:
    """Describe a shell script that runs in the overlay, its lower directory hidden."""
    spec = runs.spec(("/bin/sh", "-c", script))
    wanted = replace(
        spec.launch,
        cwd=overlay.target,
        overlays=(overlay,),
        hidden=(overlay.lower.parent,),
        **launch,
    )
    return replace(spec, launch=wanted)


def namespace(kind: str) -> str:
    """Return which namespace we are in."""
    return str(Path(f"/proc/self/ns/{kind}").readlink())


async def test_root_has_the_tree_as_its_own(runs: Runs, overlay: Overlay) -> None:
    """Nothing that root does to the tree, or to where it came from, is seen by the next one."""
    before = look(overlay.lower)
    script = f"{DAMAGE}\ntouch {overlay.lower}/file 2> /dev/null || echo hidden"
    exit_ = await runs.finish(spec_of(runs, overlay, script))
    assert exit_.code == 0, runs.said()
    assert runs.said() == b"before\nafter\nnew\nfile folder sub\nhidden\n"
    assert look(overlay.lower) == before


async def test_another_user_has_the_tree_as_its_own(runs: Runs, overlay: Overlay) -> None:
    """It writes through the overlay although it can reach neither of the directories below."""
    before = look(overlay.lower)
    script = f"{DAMAGE}\nls {overlay.upper} {overlay.lower} 2> /dev/null || echo closed"
    exit_ = await runs.finish(spec_of(runs, overlay, script, identity=NOBODY))
    assert exit_.code == 0, runs.said()
    assert runs.said() == b"before\nafter\nnew\nfile folder sub\nclosed\n"
    assert look(overlay.lower) == before
    assert (overlay.upper / "file").stat().st_uid == NOBODY.uid


@pytest.mark.parametrize("identity", [None, NOBODY])
async def test_what_is_changed_may_lie_below_the_mount(
    runs: Runs, overlay: Overlay, identity: Identity | None
) -> None:
    """As it does in workspaces: the run sees the whole tree, we what is new, in one directory."""
    before, same = look(overlay.lower), replace(overlay, upper=overlay.target)
    exit_ = await runs.finish(spec_of(runs, same, DAMAGE, identity=identity))
    assert exit_.code == 0, runs.said()
    assert runs.said() == b"before\nafter\nnew\nfile folder sub\n"
    assert look(overlay.lower) == before
    assert (overlay.target / "file").read_text() == "after\n"


async def test_renaming_a_directory_of_the_tree_works_for_root(
    runs: Runs, overlay: Overlay
) -> None:
    """The directory is moved and not copied, whatever the program can do about it."""
    script = f"'{sys.executable}' -c \"import os; os.rename('folder', 'moved')\" && ls moved"
    exit_ = await runs.finish(spec_of(runs, overlay, script))
    assert exit_.code == 0, runs.said()
    assert runs.said() == b"inner\nsub\n"


async def test_what_cannot_be_attached_is_the_operators_matter(
    runs: Runs, overlay: Overlay
) -> None:
    """A run without the tree that it was to have is not started, and the step is named."""
    overlay.work.rmdir()
    exit_ = await runs.finish(spec_of(runs, overlay, "echo ran"))
    assert exit_.reason == exits.SANDBOX_UNAVAILABLE
    assert "overlay" in exit_.detail
    assert runs.said() == b""


# ----------------------------------------------------------------------------- an ordinary user


@pytest.fixture
def ordinary(runs: Runs, overlay: Overlay) -> Overlay:
    """The tree, where the ordinary user can mount; its own are all directories."""
    scratch = runs.root / "scratch"
    scratch.mkdir()
    give(runs.root)
    lower = str(overlay.lower)
    code = f"probe._overlay(os.fsencode({lower!r}), os.fsencode({str(scratch)!r}))"
    if subprocess.run([sys.executable, "-c", _AS_NOBODY + code], check=False).returncode != 0:
        pytest.skip("ordinary users cannot mount on this machine")
    return overlay


def supervised(spec: RunSpec) -> subprocess.Popen[bytes]:
    """Start a supervisor that is the ordinary user."""
    spec.directory.mkdir(mode=0o700)
    run_spec.prepare(spec)
    give(spec.directory)
    code = f"{_AS_NOBODY}\nwatch.supervise(os.fsencode({str(spec.directory)!r})); os._exit(0)"
    return subprocess.Popen(
        [sys.executable, "-c", code], env={"STUDIO_RUNNER_RUN": spec.run_id}, stdin=-3
    )


def ending(spec: RunSpec, supervisor: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the end of a run and return its record."""
    assert supervisor.wait(PATIENCE) == 0
    return dict(json.loads((spec.directory / "exit.json").read_bytes()))


async def test_an_ordinary_user_has_the_tree_as_its_own(runs: Runs, ordinary: Overlay) -> None:
    """In a user namespace, without root's help; also by its own absolute path it is safe."""
    before = look(ordinary.lower)
    script = f"{DAMAGE}\ntouch {ordinary.lower}/file 2> /dev/null || echo hidden\nid -u; id -g"
    ordinary = replace(ordinary, upper=ordinary.target)  # as it is in workspaces
    spec = spec_of(runs, ordinary, script, user_namespace=True)
    record = ending(spec, supervised(spec))
    assert record["code"] == 0, (record, runs.said())
    assert runs.said() == b"before\nafter\nnew\nfile folder sub\nhidden\n65534\n65534\n"
    assert look(ordinary.lower) == before
    assert (ordinary.upper / "file").stat().st_uid == NOBODY.uid


async def test_an_ordinary_user_is_shown_nothing_but_its_own(runs: Runs, ordinary: Overlay) -> None:
    """Its directory stays, with the overlay in it; what lies beside it and a file are covered."""
    private = runs.root / "private"
    secret, key = private / "secret", runs.root / "key"
    for file in (secret, key):
        file.write_text("secret")
        give(file)
    target = private / "own" / "tree"
    target.mkdir(parents=True)
    give(private / "own")
    script = f"cat {secret} {key} file; echo x > new; echo x >> {key}; ls {private}; umount {key}"
    spec = spec_of(runs, replace(ordinary, target=target), script, user_namespace=True)
    launch = replace(
        spec.launch,
        hidden=(ordinary.lower.parent, private, key),
        visible=(private / "own",),
    )
    spec = replace(spec, launch=launch)
    record = ending(spec, supervised(spec))
    said = [line for line in runs.said().decode().splitlines() if ": " not in line]
    assert said == ["before", "own"], (record, runs.said())
    assert (ordinary.upper / "new").read_text() == "x\n"
    assert (secret.read_text(), key.read_text()) == ("secret", "secret")


async def test_an_ordinary_user_gains_no_powers(runs: Runs, ordinary: Overlay) -> None:
    """What it may do in its namespace ends before the experiment begins, and cannot come back."""
    script = "grep -E 'CapEff|CapPrm|NoNewPrivs' /proc/self/status; umount . 2> /dev/null || id -u"
    spec = spec_of(runs, ordinary, script, user_namespace=True)
    record = ending(spec, supervised(spec))
    assert record["code"] == 0, (record, runs.said())
    none = "0" * 16
    assert runs.said().decode().split() == [
        *("CapPrm:", none, "CapEff:", none, "NoNewPrivs:", "1", "65534")
    ]


async def test_a_run_in_a_namespace_is_found_and_ended_from_outside(
    runs: Runs, ordinary: Overlay
) -> None:
    """By the mark in its environment, by its own user, when nothing but that is known."""
    script = "(setsid sleep 1000 &) ; echo begun; sleep 1000"
    spec = spec_of(runs, ordinary, script, user_namespace=True)
    supervisor = supervised(spec)
    await runs.says(b"begun")
    code = (
        "import time\n"
        f"found = lambda: [p.pid for p in processes.of_run({spec.run_id!r})]\n"
        f"end = time.monotonic() + {PATIENCE}\n"
        "while len(found()) < 4 and time.monotonic() < end: time.sleep(0.01)\n"
        f"assert {supervisor.pid} in found() and len(found()) >= 4, found()\n"
        f"while processes.kill(processes.Members(run_id={spec.run_id!r})): pass\n"
    )
    await anyio.run_process([sys.executable, "-c", _AS_NOBODY + code], env={})
    assert supervisor.wait(PATIENCE) == -signal.SIGKILL


async def test_a_run_in_a_namespace_ends_with_its_supervisor(runs: Runs, ordinary: Overlay) -> None:
    """The kernel's word that nobody outlives its supervisor holds in there, too."""
    spec = spec_of(runs, ordinary, "echo begun; exec sleep 1000", user_namespace=True)
    supervisor = supervised(spec)
    await runs.says(b"begun")
    child = json.loads((spec.directory / "supervisor.json").read_bytes())["child"]
    supervisor.kill()
    supervisor.wait()
    await until(lambda: look_at(child) is None)


async def test_a_run_in_a_namespace_is_stopped(runs: Runs, ordinary: Overlay) -> None:
    """TERM reaches it, and its own answer is its end."""
    script = "trap 'echo stopped; exit 3' TERM; echo begun; while :; do sleep 0.1; done"
    spec = spec_of(runs, ordinary, script, user_namespace=True)
    supervisor = supervised(spec)
    await runs.says(b"begun")
    supervisor.send_signal(signal.SIGTERM)
    record = ending(spec, supervisor)
    assert (record["reason"], record["code"]) == ("terminated", 3)
    assert b"stopped" in runs.said()


async def test_a_run_without_mounts_stays_where_it_is(runs: Runs) -> None:
    """No namespace is made for who needs none: it would cost, and look different."""
    spec = runs.spec(("readlink", "/proc/self/ns/mnt", "/proc/self/ns/user"))
    assert isinstance(spec.launch, Launch)
    run = await Run.start(spec)
    await ended(run)
    await run.forget()
    assert runs.said().decode().split() == [namespace("mnt"), namespace("user")]
