"""The directory of one attempt."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import BadField, HostFault, Misconfigured
from runner.lifecycle.runs.workspace import Workspace, hold, leftovers, sweep, unreachable
from runner.removal import remove_quickly, remove_tree
from runner.sandboxes.base import Identity

pytestmark = pytest.mark.anyio

NOBODY = Identity(65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """Give a directory that every user of the machine may pass through; tmp_path is private."""
    path = Path(tempfile.mkdtemp(prefix="workspace-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def as_user(identity: Identity, act: str) -> int:
    """Run a line of Python as another user and return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(identity.gid)
            os.setuid(identity.uid)
            exec(act, {"os": os})  # noqa: S102 - written in this file
        except OSError as error:
            os._exit(error.errno or 1)
        except BaseException:  # noqa: BLE001 - the child must not go on as a test
            os._exit(255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_workspace_has_the_layout_of_the_protocol(tmp_path: Path) -> None:
    """``<hash of key>.<n>`` below ``experiments`` with workspace, output and what is ours."""
    workspace = Workspace.create(tmp_path / "w", "my_experiment")

    assert workspace.root.parent == tmp_path / "w" / "experiments"
    stem, _, number = workspace.name.partition(".")
    assert len(stem) == 16
    assert int(stem, 16) >= 0
    assert number == "0"
    assert workspace.code.is_dir()
    assert workspace.log == workspace.root / "output" / "output"
    assert workspace.log.parent.is_dir()
    assert workspace.scratch.is_dir()
    assert workspace.private.is_dir()
    assert not workspace.environment.exists()


def test_every_directory_is_private(tmp_path: Path) -> None:
    """Another user of the machine sees nothing of an experiment."""
    workspace = Workspace.create(tmp_path / "w", "key")

    made = [tmp_path / "w", workspace.root.parent, workspace.root, workspace.code]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


def test_attempts_of_one_key_take_the_next_free_number(tmp_path: Path) -> None:
    """The name is stable over attempts but for its number."""
    first, second = (Workspace.create(tmp_path, "key") for _ in range(2))

    assert first.name.split(".")[0] == second.name.split(".")[0]
    assert [first.name.split(".")[1], second.name.split(".")[1]] == ["0", "1"]
    assert Workspace.create(tmp_path, "other").name.split(".")[0] != first.name.split(".")[0]


def test_the_client_library_finds_the_labels_through_the_home_directory(tmp_path: Path) -> None:
    """``$STUDIOML_HOME/experiments/$STUDIOML_EXPERIMENT/modeldir`` is the label's directory."""
    workspace = Workspace.create(tmp_path, "key")
    workspace.directory("modeldir").mkdir()

    through = workspace.home / "experiments" / workspace.name / "modeldir"

    assert through.samefile(workspace.directory("modeldir"))


@pytest.mark.parametrize("label", ["", ".", "..", "a/b", "a\0", "_runner", "_tmp", "_home", "_env"])
def test_a_label_that_is_no_name_or_ours_is_refused(tmp_path: Path, label: str) -> None:
    """No label leads out of the workspace or into what the runner keeps there."""
    with pytest.raises(BadField, match=r"experiment\.artifacts"):
        Workspace(tmp_path).directory(label)


def test_an_adopted_workspace_must_still_be_there(tmp_path: Path) -> None:
    """A restarted daemon reopens by path, and hears plainly when it is gone."""
    workspace = Workspace.create(tmp_path, "key")

    assert Workspace.at(workspace.root) == workspace
    with pytest.raises(HostFault, match="is gone"):
        Workspace.at(tmp_path / "nothing")


@as_root
def test_the_experiments_user_owns_its_directories_and_nothing_above(open_dir: Path) -> None:
    """It writes where it works; it cannot list others, nor swap a label's directory for a link."""
    workspace = Workspace.create(open_dir / "w", "key", NOBODY)

    assert as_user(NOBODY, f"open({str(workspace.code / 'x')!r}, 'w').close()") == 0
    assert as_user(NOBODY, f"open({str(workspace.scratch / 'x')!r}, 'w').close()") == 0
    assert as_user(NOBODY, f"os.listdir({str(workspace.root.parent)!r})") == errno.EACCES
    assert as_user(NOBODY, f"os.listdir({str(workspace.private)!r})") == errno.EACCES
    swap = f"os.rename({str(workspace.code)!r}, {str(workspace.root / 'y')!r})"
    assert as_user(NOBODY, swap) == errno.EACCES


@as_root
def test_handing_over_does_not_follow_links(open_dir: Path) -> None:
    """A link in an archive must not give away what it points at."""
    outside = open_dir / "outside"
    outside.write_text("root's")
    workspace = Workspace.create(open_dir / "w", "key", NOBODY)
    (workspace.code / "deep").mkdir()
    (workspace.code / "deep" / "link").symlink_to(outside)
    (workspace.code / "folder").symlink_to(open_dir)

    workspace.hand_over(workspace.code)

    assert outside.stat().st_uid == 0
    assert open_dir.stat().st_uid == 0
    assert (workspace.code / "deep").stat().st_uid == NOBODY.uid
    assert (workspace.code / "deep" / "link").lstat().st_uid == NOBODY.uid


@as_root
def test_an_unreachable_working_directory_is_the_operators_to_mend(open_dir: Path) -> None:
    """The sentence names the directory that is closed and how to open it."""
    closed = open_dir / "closed"
    closed.mkdir(mode=0o700)

    assert unreachable(closed, NOBODY) == closed
    assert unreachable(open_dir, NOBODY) is None
    with pytest.raises(Misconfigured, match="experiments run as user 65534"):
        Workspace.create(closed / "w", "key", NOBODY)


async def test_removing_takes_read_only_trees_and_leaves_what_links_point_at(
    tmp_path: Path,
) -> None:
    """Modes that forbid removing are no obstacle; nothing outside is touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    workspace = Workspace.create(tmp_path / "w", "key")
    inner = workspace.code / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (inner / "link").symlink_to(outside)
    (workspace.code / "dangling").symlink_to("nowhere")
    for path in (inner, inner.parent, workspace.code):
        path.chmod(0)

    await workspace.remove()
    await workspace.remove()

    assert not workspace.root.exists()
    assert (outside / "kept").read_text() == "kept"


@as_root
def test_an_ordinary_user_removes_its_read_only_trees_too(open_dir: Path) -> None:
    """The daemon need not be root to be rid of directories without any permission."""
    tree = open_dir / "tree"
    tree.mkdir()
    os.chown(open_dir, NOBODY.uid, NOBODY.gid)
    os.chown(tree, NOBODY.uid, NOBODY.gid)
    make = f"os.makedirs({str(tree / 'a' / 'b')!r}); os.chmod({str(tree / 'a')!r}, 0)"
    assert as_user(NOBODY, make) == 0

    child = os.fork()
    if child == 0:
        os.setgid(NOBODY.gid)
        os.setuid(NOBODY.uid)
        remove_tree(tree)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert not tree.exists()


@pytest.mark.parametrize("remove", [remove_tree, remove_quickly])
def test_a_tree_deeper_than_any_path_is_removed(
    tmp_path: Path, remove: Callable[[Path], None]
) -> None:
    """Neither the length of paths, nor open descriptors, nor recursion limits the depth."""
    top = tmp_path / "deep"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    remove(top)

    assert not top.exists()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("remove", [remove_tree, remove_quickly])
def test_a_pipe_in_place_of_a_tree_is_removed(
    tmp_path: Path, remove: Callable[[Path], None]
) -> None:
    """Nobody waits for its other end."""
    os.mkfifo(tmp_path / "tree")
    remove(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_what_resists_is_named_and_the_rest_goes(tmp_path: Path) -> None:
    """One thing that cannot be removed does not keep everything else."""
    tree = tmp_path / "tree"
    mount = tree / "mount"
    mount.mkdir(parents=True)
    (tree / "other").mkdir()
    (tree / "other" / "file").write_text("x")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("precious")
    libc = pytest.importorskip("ctypes").CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(kept), os.fsencode(mount), None, 4096, None) != 0:
        pytest.skip("this user may not mount")
    try:
        with pytest.raises(HostFault, match="mount"):
            remove_tree(tree)
        assert [path.name for path in tree.iterdir()] == ["mount"]
        assert (kept / "file").read_text() == "precious"
    finally:
        libc.umount2(os.fsencode(mount), 2)


async def test_a_sweep_removes_what_a_dead_daemon_left(tmp_path: Path) -> None:
    """All but the workspaces of runs that are still known."""
    kept, left = (Workspace.create(tmp_path, "key") for _ in range(2))

    assert await sweep(leftovers(tmp_path, {kept.root})) == [left.root]
    assert kept.root.is_dir()
    assert not left.root.exists()
    assert leftovers(tmp_path / "never made", set()) == []


def test_one_daemon_has_a_working_directory_to_itself(tmp_path: Path) -> None:
    """Its sweep would take the other's workspaces; the lock falls with its holder's death."""
    path = tmp_path / "w"
    with hold(path), pytest.raises(Misconfigured, match="give each its own"), hold(path):
        pass

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with hold(path):
            os.write(writing, b"x")
            signal.pause()
        os._exit(0)
    try:
        os.read(reading, 1)
        with pytest.raises(Misconfigured), hold(path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    with hold(path):
        pass


@given(st.text())
def test_any_key_names_a_directory(key: str) -> None:
    """Whatever the key holds, it becomes sixteen hexadecimal digits and a number."""
    with tempfile.TemporaryDirectory() as place:
        name = Workspace.create(Path(place), key).name

    assert set(name) <= set("0123456789abcdef.")
