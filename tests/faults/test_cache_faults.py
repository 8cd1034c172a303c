"""A cache that is full, gone, read-only or too small costs time, and never an experiment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.box import Box, packed, until
from tests.faults.s3_box import S3Box, s3_box
from tests.servers.faults import Stall
from tests.servers.s3 import S3Server

SCRIPT = "import pathlib; print(len(pathlib.Path('data.txt').read_text()))"
SIZE = 12_000_000
WORKSPACE = packed({"train.py": SCRIPT, "data.txt": "x" * SIZE})


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine with a local store; its cache is ``tmp_path / "cache"``."""
    with Box(tmp_path) as box:
        yield box


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[None]:
    """Have a small file system of its own at a directory."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    where.mkdir(exist_ok=True)
    command = ["/bin/mount", "-t", "tmpfs", *options, "tmpfs", str(where)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"this machine mounts no tmpfs: {made.stderr.strip()}")
    try:
        yield
    finally:
        # A run of the test may still be ending in there.
        subprocess.run(["/bin/umount", "--lazy", str(where)], check=True)


def start(box: Box, *options: str) -> subprocess.Popen[bytes]:
    """Start a daemon that keeps artifacts."""
    return box.start("--cache-dir", str(box.root / "cache"), *options)


def submit(box: Box, name: str = "one") -> str:
    """Queue an experiment; those of one name share their workspace."""
    message = box.message(SCRIPT, resources_needed={"cpus": 1, "ram": "256m", "hdd": "100m"})
    blob = f"blobstore/{name}.tar"
    if not (box.storage / blob).exists():  # written anew it would be another version
        (box.storage / blob).write_bytes(WORKSPACE)
    message["experiment"]["artifacts"]["workspace"] = box.artifact(blob, mutable=False)
    return box.publish(message)


def check(box: Box, key: str) -> None:
    """See that it ran on its whole workspace, at the first attempt."""
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 1), (outcome, box.output(key))
    assert box.output(key).splitlines()[-1] == str(SIZE)
    box.wait_until_clean()
    assert box.complaints() == []


def lent(box: Box) -> list[bool]:
    """Return, for every artifact that the cache lent, whether it was there already."""
    lines = [json.loads(line) for line in box.log().splitlines() if line.startswith("{")]
    return [line["reused"] for line in lines if line["event"] == "artifact from the cache"]


def warnings(box: Box) -> int:
    """Return how often the log says that nothing can be kept."""
    return box.log().count("artifacts are not kept until this is mended")


def kept(box: Box) -> int:
    """Return the bytes of all files in the cache."""
    paths = (box.root / "cache").rglob("*")
    return sum(path.lstat().st_size for path in paths if path.is_file())


def test_a_cache_on_another_file_system_is_used(box: Box) -> None:
    """Kept once, lent to the second experiment."""
    with mounted(box.root / "cache", "-o", "size=64m"):
        daemon = start(box, "--cache-size", "50mb")
        for _ in range(2):
            check(box, submit(box))
        assert lent(box) == [False, True]
        box.drain(daemon)


def test_a_full_cache_directory_is_done_without(box: Box) -> None:
    """The disk ends before the bound does: fetched into the workspace, and said once."""
    with mounted(box.root / "cache", "-o", "size=6m"):
        daemon = start(box, "--cache-size", "50mb")
        for name in ("one", "two"):
            check(box, submit(box, name))
        assert lent(box) == []
        assert warnings(box) == 1
        assert kept(box) < 1_000_000
        box.drain(daemon)


def test_a_read_only_cache_directory_is_done_without(box: Box) -> None:
    """Said once."""
    with mounted(box.root / "cache", "-o", "ro"):
        daemon = start(box, "--cache-size", "50mb")
        for name in ("one", "two"):
            check(box, submit(box, name))
        assert lent(box) == []
        assert warnings(box) == 1
        box.drain(daemon)


def test_a_file_where_the_cache_should_be_is_done_without(box: Box) -> None:
    """No directory can be made there."""
    (box.root / "cache").write_text("not a directory")
    start(box, "--cache-size", "50mb")
    check(box, submit(box))
    assert lent(box) == []
    assert warnings(box) == 1


def test_a_cache_deleted_under_the_daemon_is_made_anew(box: Box) -> None:
    """Whoever deletes it has to pay with another download, and nothing else."""
    start(box, "--cache-size", "50mb")
    check(box, submit(box))
    shutil.rmtree(box.root / "cache")
    for _ in range(2):
        check(box, submit(box))
    assert lent(box)[-1] is True
    assert len(list((box.root / "cache").rglob("data.txt"))) == 1


def test_an_object_larger_than_the_cache_is_fetched_without_it(box: Box) -> None:
    """Nothing of it stays, and what fits is kept as before."""
    start(box, "--cache-size", "10mb")
    for _ in range(2):
        check(box, submit(box))
    assert lent(box) == []
    assert kept(box) < 1_000_000
    small = box.submit("print('small')")
    assert box.outcome(small)["cause"] == "completed"
    assert lent(box) == [False]


def test_the_bound_holds_while_artifacts_take_turns(box: Box) -> None:
    """Three that do not fit together are all run; the cache never holds more than its bound."""
    start(box, "--cache-size", "26mb")
    for name in ("one", "two", "three", "one", "two"):
        check(box, submit(box, name))
        assert kept(box) <= 26_000_000


def test_a_kept_tree_that_somebody_changed_is_fetched_again(box: Box) -> None:
    """A root that writes into the cache while no daemon runs is found out at the next use."""
    daemon = start(box, "--cache-size", "50mb")
    check(box, submit(box))
    box.drain(daemon)
    (data,) = (box.root / "cache").rglob("data.txt")
    with data.open("r+b") as file:
        file.write(b"y")
    start(box, "--cache-size", "50mb")
    check(box, submit(box))
    assert lent(box) == [False, False]
    (data,) = (box.root / "cache").rglob("data.txt")
    assert data.read_bytes()[:1] == b"x"


@pytest.mark.service("s3")
def test_a_daemon_killed_while_it_fetches_leaves_no_half_tree(
    tmp_path: Path, seaweed_server: S3Server
) -> None:
    """The next daemon fetches anew, and finds the whole bound free."""
    with s3_box(tmp_path, seaweed_server) as box:
        rule = box.proxy.inject(Stall(at=8 << 20), method="GET", path="blobstore", times=1)
        daemon = start(box, "--cache-size", "16mb", "--lease", "2s")
        key = _submitted(box)
        box.proxy.wait_for_fault(rule)
        until(lambda: kept(box) > 1_000_000 or None, "a part of the tree", box.log)
        box.kill(daemon)
        start(box, "--cache-size", "16mb", "--lease", "2s")
        outcome = box.outcome(key)
        assert outcome["cause"] == "completed"
        assert lent(box) == [False]
        assert kept(box) <= 16_000_000


def _submitted(box: S3Box) -> str:
    needs = {"cpus": 1, "ram": "256m", "hdd": "100m"}
    return box.submit(SCRIPT, workspace=WORKSPACE, resources_needed=needs)
