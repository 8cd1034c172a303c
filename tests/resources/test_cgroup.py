"""Limits of control groups, read from trees of both versions as hosts and containers show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.model import Bytes
from runner.resources.cgroup import Limits, limits

V1_UNLIMITED = "9223372036854771712"


class Tree:
    """A root directory with ``proc`` and control groups in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def process(self, cgroup: str, mountinfo: str) -> None:
        """Write what the kernel says of this process."""
        self.write("proc/self/cgroup", cgroup)
        self.write("proc/self/mountinfo", mountinfo)

    def write(self, path: str, text: str) -> None:
        """Write a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def limits(self) -> Limits:
        """Read the tree."""
        return limits(self.root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Give an empty tree."""
    return Tree(tmp_path)


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "32 31 0:29 {0} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {0} /sys/fs/cgroup/memory rw,relatime master:3 - cgroup cgroup rw,memory\n"
    "40 31 0:37 {0} /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
)
V1_GROUPS = "9:name=systemd:{0}\n4:memory:{0}\n2:cpu,cpuacct:{0}\n"


def test_a_machine_without_groups_has_no_limits(tree: Tree) -> None:
    """Nothing mounted, nothing limited, nothing raised."""
    assert tree.limits() == Limits()


def test_version_2_limits_are_read(tree: Tree) -> None:
    """Quota and period make cores, a fraction where they do; bytes are bytes."""
    tree.process("0::/system.slice/runner.service\n", V2_MOUNT)
    tree.write("sys/fs/cgroup/system.slice/runner.service/cpu.max", "150000 100000\n")
    tree.write("sys/fs/cgroup/system.slice/runner.service/memory.max", "1073741824\n")
    assert tree.limits() == Limits(cores=1.5, memory=Bytes(1 << 30))


def test_version_2_max_is_no_limit(tree: Tree) -> None:
    """The word ``max`` limits nothing."""
    tree.process("0::/\n", V2_MOUNT)
    tree.write("sys/fs/cgroup/cpu.max", "max 100000\n")
    tree.write("sys/fs/cgroup/memory.max", "max\n")
    assert tree.limits() == Limits()


def test_the_tightest_group_on_the_way_up_counts(tree: Tree) -> None:
    """A limit of a parent holds for its children, whatever they say."""
    tree.process("0::/a/b\n", V2_MOUNT)
    tree.write("sys/fs/cgroup/a/memory.max", "1000\n")
    tree.write("sys/fs/cgroup/a/b/memory.max", "2000\n")
    tree.write("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
    tree.write("sys/fs/cgroup/a/cpu.max", "200000 100000\n")
    assert tree.limits() == Limits(cores=2, memory=Bytes(1000))


def test_version_1_limits_are_read(tree: Tree) -> None:
    """Each controller has a hierarchy of its own, with names that share a mount."""
    tree.process(V1_GROUPS.format("/jobs"), V1_MOUNTS.format("/"))
    tree.write("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "300000\n")
    tree.write("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n")
    tree.write("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "5000\n")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", V1_UNLIMITED)
    assert tree.limits() == Limits(cores=3, memory=Bytes(5000))


def test_version_1_unlimited_is_no_limit(tree: Tree) -> None:
    """A quota of -1 and the largest number of pages limit nothing."""
    tree.process(V1_GROUPS.format("/"), V1_MOUNTS.format("/"))
    tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", V1_UNLIMITED)
    assert tree.limits() == Limits()


@pytest.mark.parametrize("mount_root", ["/docker/abc", "/"])
def test_a_container_finds_its_group_at_the_mount_point(tree: Tree, mount_root: str) -> None:
    """Inside, the host's path of the group means nothing: the mount point is the group."""
    tree.process(V1_GROUPS.format("/docker/abc"), V1_MOUNTS.format(mount_root))
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n")
    assert tree.limits().memory == 7000


def test_both_versions_together_are_read(tree: Tree) -> None:
    """A hybrid machine keeps some controllers in version 1 beside an empty version 2 tree."""
    unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    tree.process(V1_GROUPS.format("/") + "0::/\n", V1_MOUNTS.format("/") + unified)
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9000\n")
    tree.write("sys/fs/cgroup/unified/cgroup.controllers", "\n")
    assert tree.limits() == Limits(memory=Bytes(9000))


def test_a_mount_point_with_a_blank_is_found(tree: Tree) -> None:
    """The kernel writes blanks in mount points as octal numbers."""
    tree.process("0::/\n", V2_MOUNT.replace("/sys/fs/cgroup", r"/my\040groups"))
    tree.write("my groups/memory.max", "11\n")
    assert tree.limits().memory == 11


def test_a_group_outside_our_namespace_is_not_followed(tree: Tree) -> None:
    """A path that climbs out of the tree is not a place to read from."""
    tree.process("0::/../outside\n", V2_MOUNT)
    tree.write("sys/fs/outside/memory.max", "1\n")
    tree.write("sys/fs/cgroup/memory.max", "13\n")
    assert tree.limits().memory == 13
