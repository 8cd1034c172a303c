"""Control groups: where they can be made, what is written there, how they are entered and left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.supervisor import groups, processes
from runner.supervisor.grouping import groups_of
from runner.supervisor.groups_v2 import GroupsV2
from runner.supervisor.hierarchies import LEAF, Homes, homes
from tests.supervisor import trees

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
DELEGATED = "user.delegate"


def delegate(directory: Path) -> None:
    """Write what systemd writes on a group that it leaves to others."""
    try:
        os.setxattr(directory, DELEGATED, b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")


# ----------------------------------------------------------------------------- where they are


def test_version_1_has_a_home_for_each_controller(tmp_path: Path) -> None:
    """Our own group of each, whether two share a tree or not."""
    trees.v1(tmp_path, memory="/a", cpu_cpuacct="/b", pids="/")
    found = homes(str(tmp_path))
    place = f"{tmp_path}/sys/fs/cgroup"
    assert found.v1 == {
        "memory": f"{place}/memory/a",
        "cpu": f"{place}/cpu,cpuacct/b",
        "cpuacct": f"{place}/cpu,cpuacct/b",
        "pids": f"{place}/pids",
    }


def test_a_container_sees_its_group_at_the_mount_point(tmp_path: Path) -> None:
    """Under a name that means nothing inside."""
    directory = trees.v2(tmp_path, "/docker/abc", top="/docker/abc", seen="")
    found = homes(str(tmp_path))
    assert (found.v2, found.is_ours) == (str(directory), True)


@pytest.mark.parametrize(
    ("is_delegated", "is_ours"), [(True, True), (False, False)], ids=["delegated", "a login's"]
)
def test_a_group_is_ours_where_systemd_says_so(
    tmp_path: Path, *, is_delegated: bool, is_ours: bool
) -> None:
    """Nobody else's processes are moved about."""
    directory = trees.v2(tmp_path, "/system.slice/studio-runner.service")
    if is_delegated:
        delegate(directory)
    found = homes(str(tmp_path))
    assert (found.v2, found.is_ours) == (str(directory), is_ours)
    assert found.controllers == {"cpu", "memory", "pids"}


def test_a_service_in_a_subgroup_has_its_home_above(tmp_path: Path) -> None:
    """``DelegateSubgroup=`` puts the daemon into a leaf; runs get groups beside it."""
    above = trees.v2(tmp_path, "/a.service")
    delegate(above)
    trees.v2(tmp_path, "/a.service/daemon")
    assert homes(str(tmp_path)).v2 == str(above)


def test_a_daemon_that_moved_aside_finds_its_home_again(tmp_path: Path) -> None:
    """Executed anew, or as a supervisor that it has started."""
    above = trees.v2(tmp_path, "/a")
    trees.v2(tmp_path, f"/a/{LEAF}")
    assert (homes(str(tmp_path)).v2, homes(str(tmp_path)).is_ours) == (str(above), True)


def test_what_cannot_be_seen_is_no_home(tmp_path: Path) -> None:
    """A group above the mount, as some containers have it, leads nowhere."""
    trees.v2(tmp_path, "/../..", seen="")
    assert homes(str(tmp_path)).v2 == ""
    with pytest.raises(OSError, match="can be seen"):
        groups_of("r", Homes())


def test_a_tree_without_memory_is_refused(tmp_path: Path) -> None:
    """The sentence names what is missing."""
    trees.v2(tmp_path, "/a", "cpu pids")
    with pytest.raises(OSError, match="has no memory to bound"):
        groups_of("r", homes(str(tmp_path)))


# ----------------------------------------------------------------------------- version 2, on paper


def made(root: Path, *, hard_cores: bool = True) -> Path:
    """Make the groups of a run in a tree on paper, and return their directory."""
    directory = trees.v2(root, "/a")
    delegate(directory)
    trees.fill(directory / "studio-runner-run-r")
    held = groups_of("r", homes(str(root)))
    held.make(10**9, 1.5, 100, hard_cores=hard_cores)
    for descriptor in held._held:
        os.close(descriptor)
    return directory


def test_version_2_is_told_all_bounds(tmp_path: Path) -> None:
    """No swap, and nobody survives who waits for one that was killed."""
    directory = made(tmp_path)
    place = directory / "studio-runner-run-r"
    said = {path.name: path.read_text() for path in place.iterdir()}
    assert said["memory.max"] == "1000000000"
    assert (said["memory.swap.max"], said["memory.oom.group"]) == ("0", "1")
    assert int(said["pids.max"]) >= 100
    assert (said["cpu.max"], said["cpu.weight"]) == ("150000 100000", "150")


def test_soft_cores_are_a_share_alone(tmp_path: Path) -> None:
    """Idle ones are for who wants them."""
    place = made(tmp_path, hard_cores=False) / "studio-runner-run-r"
    assert ((place / "cpu.max").read_text(), (place / "cpu.weight").read_text()) == ("", "150")


def test_version_2_counts_for_the_group(tmp_path: Path) -> None:
    """Kills, the peak, time and refused forks, each in its unit."""
    directory = trees.v2(tmp_path, "/a")
    place = directory / "studio-runner-run-r"
    place.mkdir()
    for name, text in {
        "memory.events": "low 0\nmax 3\noom 1\noom_kill 2\n",
        "memory.peak": "123\n",
        "memory.stat": "anon 5\nfile 9\nshmem 2\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "pids.events": "max 4\n",
    }.items():
        (place / name).write_text(text)
    held = groups_of("r", homes(str(tmp_path)))
    assert (held.oom_kills(), held.peak(), held.now()) == (2, 123, 7)
    assert (held.cpu_time(), held.forks_refused()) == (2.5, 4)


def test_somebody_elses_group_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written there, and the remedy is named."""
    directory = trees.v2(tmp_path, "/user.slice/session-1.scope")
    with pytest.raises(OSError, match="Delegate=yes"):
        groups_of("r", homes(str(tmp_path))).make(1, 1, 1)
    assert (directory / "cgroup.subtree_control").read_text() == ""


# ----------------------------------------------------------------------------- a kernel's


@contextmanager
def v2_home() -> Iterator[Homes]:
    """Give a group in the kernel's tree of version 2, whichever controllers that may have."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            break
    else:
        pytest.skip("no tree of version 2 is mounted")
    found = Homes()
    found.v2 = f"{place.split()[4]}/test-{os.getpid()}"
    found.is_ours = True
    Path(found.v2).mkdir()
    try:
        yield found
    finally:
        groups.remove([found.v2])
        assert not Path(found.v2).exists()


@as_root
def test_version_2_ends_all_at_once() -> None:
    """Who entered is a member, and a strike leaves none alive; then the group can be removed."""
    with v2_home() as home:
        held = GroupsV2("studio-runner-run-r", home)
        held.make(0, 0, 0)
        with subprocess.Popen(["/bin/sleep", "600"]) as process:
            try:
                groups.write(f"{held.directories[0]}/cgroup.procs", process.pid)
                assert held.members() == [process.pid]
                held.strike()
                assert process.wait(60) == -9
            finally:
                process.kill()
        held.remove()
        assert not Path(held.directories[0]).exists()


@as_root
def test_who_is_in_the_way_moves_aside() -> None:
    """A group of version 2 that hands down controllers holds no processes itself."""
    from runner.supervisor import groups_v2  # noqa: PLC0415 - its inner step alone

    with v2_home() as home, subprocess.Popen(["/bin/sleep", "600"]) as process:
        groups.write(f"{home.v2}/cgroup.procs", process.pid)
        groups_v2._clear(home.v2)
        leaf = Path(home.v2, LEAF, "cgroup.procs")
        assert leaf.read_text().split() == [str(process.pid)]
        assert Path(home.v2, "cgroup.procs").read_text() == ""
        process.kill()
        process.wait()


@pytest.mark.service("cgroups")
def test_a_kill_at_a_bound_around_it_is_told_apart() -> None:
    """A machine or a container without memory is no run that took too much."""
    found = homes()
    if "memory" not in found.v1:
        pytest.skip("takes memory groups of version 1")
    outer = Path(found.v1["memory"], f"test-{os.getpid()}")
    outer.mkdir()
    found.v1["memory"] = str(outer)
    held = groups_of("r", found)
    try:
        groups.write(f"{outer}/memory.limit_in_bytes", 50_000_000)
        held.make(10**9, 1, 100)
        pid = os.fork()
        if pid == 0:
            held.join()
            bytearray(200_000_000)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == 9
        assert held.oom_kills() == 1
        assert not held.was_full()
    finally:
        held.remove()
        outer.rmdir()


@pytest.mark.service("cgroups")
def test_a_run_is_found_by_its_groups_and_no_other() -> None:
    """The name counts whole: a run whose id begins alike is another one."""
    own = f"r{os.getpid()}"
    held = groups_of(f"{own}x", homes())
    held.make(0, 0, 0)
    with subprocess.Popen(["/bin/sleep", "600"], env={}) as process:
        for directory in held.directories:
            groups.write(f"{directory}/cgroup.procs", process.pid)
        try:
            assert [one.pid for one in processes.of_run(f"{own}x")] == [process.pid]
            assert processes.of_run(own) == []
        finally:
            process.kill()
    held.remove()
