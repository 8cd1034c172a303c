"""The lease of a user: who gets whom, and that nobody is given out of whom anything is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from runner.app.users import at_most, named
from runner.errors import Misconfigured
from runner.lifecycle.runs import vacate
from runner.lifecycle.runs.users import NoUser, Users
from runner.model import Identity
from runner.settings import Settings
from runner.supervisor.users import of_user
from tests.lifecycle.machine import PATIENCE, seen
from tests.passage import open_to_all

pytestmark = pytest.mark.anyio
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be several users")

#: Of this process alone.
FIRST = 84_000 + os.getpid() % 4_000 * 4
ONE, TWO = Identity(FIRST, FIRST), Identity(FIRST + 1, FIRST)


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """A directory in which everybody may write."""
    open_to_all(tmp_path)
    place = tmp_path / "swept"
    place.mkdir()
    place.chmod(0o1777)
    return place


@pytest.fixture
def users(swept: Path) -> Users:
    """Two of them."""
    return Users(pool={ONE: "one", TWO: "two"}, swept=[swept])


def sleeper(identity: Identity) -> subprocess.Popen[bytes]:
    """Return a process of a user that no run knows of."""
    return subprocess.Popen(
        ["/bin/sleep", "600"],
        user=identity.uid,
        group=identity.gid,
        extra_groups=(),
        start_new_session=True,
    )


def names(folder: Path) -> list[str]:
    """Return what is there."""
    return [path.name for path in folder.iterdir()]


async def test_one_user_is_everybodys() -> None:
    """As many as want it have it, and nothing of it is ever ended."""
    shared = Users(ONE)
    assert [await shared.take() for _ in range(3)] == [ONE] * 3
    assert (shared.at_most, shared.is_pool, shared.variables(ONE)) == (0, False, {})
    assert await shared.end(ONE) == []
    await shared.give_back(ONE)
    assert await Users().take() is None


@needs_root
async def test_each_is_given_to_one_alone(users: Users) -> None:
    """And again when it was given back, who was nobody for longest first."""
    assert [await users.take(), await users.take()] == [ONE, TWO]
    with pytest.raises(NoUser, match="none of the 2 users"):
        await users.take()
    assert users.free == 0
    await users.give_back(TWO)
    await users.give_back(ONE)
    assert [await users.take(), await users.take()] == [TWO, ONE]
    assert users.variables(TWO) == {"USER": "two", "LOGNAME": "two"}


@needs_root
async def test_whom_an_adopted_run_is_nobody_else_becomes(users: Users) -> None:
    """Also one who is in the pool no more: the operator has changed it."""
    users.adopt(ONE)
    users.adopt(Identity(1, 1))
    users.adopt(None)
    assert users.free == 1
    assert await users.take() == TWO
    with pytest.raises(NoUser):
        await users.take()


@needs_root
async def test_a_user_with_processes_is_passed_over_and_never_ended(users: Users) -> None:
    """It may be a colleague, whom the operator has named by mistake."""
    stranger = sleeper(ONE)
    try:
        assert await users.take() == TWO
        with pytest.raises(NoUser, match="no experiment's: one"):
            await users.take()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert await users.take() == ONE


@needs_root
async def test_what_a_taken_user_has_is_ended_and_removed(users: Users, swept: Path) -> None:
    """Files where all may write, however they are closed; those of others stay."""
    assert await users.take() == ONE
    alien = sleeper(ONE)
    deep = swept / "deep" / "inner"
    deep.mkdir(parents=True)
    (swept / "file").touch()
    (swept / "link").symlink_to("/etc/passwd")
    for path in (deep, deep.parent, swept / "file", swept / "link"):
        os.chown(path, ONE.uid, ONE.gid, follow_symlinks=False)
    deep.chmod(0)
    (swept / "others").touch()
    assert [process.pid for process in of_user(ONE.uid)] == [alien.pid]
    await users.end(ONE)
    assert of_user(ONE.uid) == []
    alien.wait()
    await users.give_back(ONE)
    assert names(swept) == ["others"]


@needs_root
async def test_what_was_there_before_the_first_lease_goes_too(users: Users, swept: Path) -> None:
    """A daemon that was killed could not remove it."""
    (swept / "file").touch()
    os.chown(swept / "file", ONE.uid, ONE.gid)
    assert await users.take() == ONE
    assert names(swept) == []


@needs_root
async def test_who_could_not_be_cleared_is_tried_again_and_given_to_nobody(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the last experiment left there would be the next one's to find."""
    users = Users(pool={ONE: "one"}, swept=[swept])
    (swept / "file").touch()
    os.chown(swept / "file", ONE.uid, ONE.gid)
    with monkeypatch.context() as patch:
        patch.setattr(vacate, "__file__", str(swept / "not there"))
        with pytest.raises(NoUser, match="not cleared yet of what they left: one"):
            await users.take()
    assert await users.take() == ONE
    assert names(swept) == []


@needs_root
async def test_who_waits_for_a_user_can_be_stopped(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To clear one may take minutes, and the machine may be taken away meanwhile."""
    users, begun = Users(pool={ONE: "one"}, swept=[swept]), swept / "begun"
    slow = swept / "slow.py"
    slow.write_text(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)")
    with monkeypatch.context() as patch, anyio.fail_after(PATIENCE):
        patch.setattr(vacate, "__file__", str(slow))
        async with anyio.create_task_group() as group:
            group.start_soon(users.take)
            await seen(begun.exists)
            group.cancel_scope.cancel()
    assert users.free == 1
    assert await users.take() == ONE


@needs_root
async def test_the_systems_own_folders_are_cleared_as_well(users: Users, swept: Path) -> None:
    """``/tmp/.X11-unix`` and its like, where everybody may write, too."""
    sockets = swept / "sockets"
    sockets.mkdir()
    sockets.chmod(0o1777)
    (sockets / "left").touch()
    os.chown(sockets / "left", ONE.uid, ONE.gid)
    (sockets / "others").touch()
    assert await users.take() == ONE
    assert names(sockets) == ["others"]


def test_what_others_remove_meanwhile_keeps_nothing_there(tmp_path: Path) -> None:
    """In ``/tmp`` something always goes while one looks."""
    for name in ("one", "two", "three"):
        (tmp_path / name).touch()
    with os.scandir(tmp_path) as listing:
        entries = list(listing)
    Path(entries[0].path).unlink()
    assert [path.name for path in vacate.own(entries, os.geteuid())] == [
        entry.name for entry in entries[1:]
    ]


def test_root_is_never_ended() -> None:
    """Whoever asks for it: the script refuses."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(vacate.__file__), "0", "0"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"root is nobody to be ended" in done.stderr


@needs_root
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("0:0,84001:1", "the daemon's own"),
        ("84001:1,99:99", "a user of the system"),
        ("84001:1,65534:65534", "a user of the system"),
        ("84001:1,84001:2", "84001 2 times"),
    ],
)
def test_a_pool_is_of_users_that_are_there_for_this_alone(words: str, said: str) -> None:
    """Everything of them is ended and removed: the daemon does not start with others."""
    with pytest.raises(Misconfigured, match=said):
        named(Settings.load(["--run-as", words], {}))


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        ([], 0),
        (["--run-as", "84001:1"], 0),
        (["--run-as", "84001-84003:1"], 3),
        (["--run-as", "84001-84003:1", "--max-experiments", "2"], 2),
        (["--run-as", "84001-84003:1", "--max-experiments", "9"], 3),
        (["--max-experiments", "9"], 9),
    ],
)
def test_no_more_are_claimed_than_there_are_users(words: list[str], bound: int) -> None:
    """As if the operator had said so."""
    assert at_most(Settings.load(words, {})) == bound
