"""Three experiments and one immutable workspace, through the real daemon and the real cache."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, Json, packed, until
from tests.passage import open_to_all

#: Does to a tree what can be done to one, and to the cache what it can find of it.
TRAIN = """
import os, pathlib, sys, time
here = pathlib.Path(".")
files = sorted(str(p) for p in here.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
print("sees", *((name, (here / name).read_text()) for name in files if name != "train.py"))
if sys.argv[1] == "corrupt":
    with open("data.txt", "a") as file:
        file.write("damage")
    os.chmod("data.txt", 0o600)
    os.truncate("folder/one", 0)
    os.remove("folder/two")
    os.rename("train.py", "moved.py")
    (here / "new").write_text("new")
    for top, _, names in os.walk(sys.argv[2]):
        for name in names:
            try:
                with open(os.path.join(top, name), "a") as file:
                    file.write("damage")
                print("damaged", os.path.join(top, name))
            except OSError:
                pass
    print("has", sorted(p.name for p in here.iterdir()), (here / "data.txt").read_text())
if sys.argv[1] == "wait":
    print("begun", flush=True)
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.02)
    print("still", (here / "data.txt").read_text())
"""
FILES = {
    "train.py": TRAIN + "#" * (512 << 10),  # what is tiny is copied
    "data.txt": "data",
    "folder/one": "one",
    "folder/two": "two",
}
SEEN = "sees ('data.txt', 'data') ('folder/one', 'one') ('folder/two', 'two')\n"

#: Root without the right to mount, as in most containers.
NO_MOUNTS = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.fixture
def blob(box: Box) -> Json:
    """The artifact that all experiments have in common."""
    (box.storage / "blobstore" / "shared.tar").write_bytes(packed(FILES))
    return box.artifact("blobstore/shared.tar", mutable=False)


def submit(box: Box, blob: Json, *args: str) -> str:
    """Queue an experiment on the shared workspace."""
    message = box.message("", args=list(args))
    message["experiment"]["artifacts"]["workspace"] = blob
    return box.publish(message)


def start(
    box: Box, *options: str, wrapper: Sequence[str] = (), state: str = "state"
) -> subprocess.Popen[bytes]:
    """Start a daemon with a cache."""
    return box.start("--cache-dir", str(box.root / "cache"), *options, wrapper=wrapper, state=state)


def loans(box: Box) -> list[Json]:
    """Return what the log tells of artifacts that came through the cache."""
    lines = (json.loads(line) for line in box.log().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == "artifact from the cache"]


def look(box: Box) -> dict[str, bytes]:
    """Return every file of every kept tree."""
    trees = (box.root / "cache").rglob("data.txt")
    return {
        str(path): path.read_bytes()
        for tree in trees
        for path in tree.parent.rglob("*")
        if path.is_file()
    }


def check_three(box: Box, blob: Json) -> None:
    """Have three experiments run, the second of which does damage."""
    cache = str(box.root / "cache")
    first = submit(box, blob, "look")
    assert box.outcome(first)["cause"] == "completed", box.output(first)
    before = look(box)
    assert len(before) == 4
    second = submit(box, blob, "corrupt", cache)
    assert box.outcome(second)["cause"] == "completed", box.output(second)
    assert "has ['data.txt', 'folder', 'moved.py', 'new'] datadamage" in box.output(second)
    third = submit(box, blob, "look")
    assert box.outcome(third)["cause"] == "completed", box.output(third)
    assert [SEEN in box.output(key) for key in (first, second, third)] == [True] * 3
    assert [loan["reused"] for loan in loans(box)] == [False, True, True]
    if any(loan["attached"] for loan in loans(box)):
        assert "damaged" not in box.output(second)
        assert look(box) == before
    assert box.complaints() == []


def test_no_experiment_sees_what_another_did_to_its_workspace(box: Box, blob: Json) -> None:
    """Fetched once; one of three changes, removes and renames all it can reach, in vain."""
    start(box)
    check_three(box, blob)
    box.wait_until_clean()


@as_root
def test_no_experiment_of_another_user_does(box: Box, blob: Json) -> None:
    """The tree belongs to the user that experiments run as, and is safe from it."""
    open_to_all(box.root)
    start(box, "--run-as", "nobody", "--default-python", "/usr/bin/python3")
    check_three(box, blob)
    assert {loan["attached"] for loan in loans(box)} == {True}
    box.wait_until_clean()


@as_root
def test_without_mounts_each_gets_a_copy(box: Box, blob: Json) -> None:
    """A container's root may not mount; a copy is as safe from what is done within it."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    start(box, wrapper=NO_MOUNTS)
    first = submit(box, blob, "look")
    assert box.outcome(first)["cause"] == "completed", box.output(first)
    before = look(box)
    second = submit(box, blob, "corrupt", str(box.root / "nowhere"))
    assert box.outcome(second)["cause"] == "completed", box.output(second)
    assert look(box) == before
    assert [(loan["reused"], loan["attached"]) for loan in loans(box)] == [
        (False, False),
        (True, False),
    ]
    assert SEEN in box.output(second)


#: An ordinary user who may read what is closed to it: the interpreter of these tests.
ORDINARY = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


@as_root
def test_an_ordinary_users_experiments_do_not_either(box: Box, blob: Json) -> None:
    """Without root's help, where the machine has user namespaces; else by copies."""
    if shutil.which("setpriv") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("setpriv or the system's Python is not installed")
    open_to_all(box.root)
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 65534, 65534)
    options = [word for word in box.options() if word != "--allow-root-experiments"]
    check = subprocess.run([*ORDINARY, sys.executable, "-c", ""], check=False, capture_output=True)
    if check.returncode != 0:
        pytest.skip(f"capabilities cannot be handed on here: {check.stderr.decode()}")
    assert options != box.options()
    start(box, "--default-python", "/usr/bin/python3", wrapper=ORDINARY)
    check_three(box, blob)
    box.wait_until_clean()


def test_a_killed_daemon_loses_no_tree_and_no_environment(box: Box, blob: Json) -> None:
    """What a run uses outlives its daemon, also while others make room; the next one adopts it."""
    first = start(box)
    flag = box.root / "go"
    key = submit(box, blob, "wait", str(flag))
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    box.kill(first)
    evict(box)
    assert len(look(box)) == 4
    assert len(list((box.state / "environments" / "built").iterdir())) == 1
    second = start(box, "--limit-idle-duration", "2s", "--cache-size", "1kb")
    flag.touch()
    assert box.outcome(key)["cause"] == "completed", box.output(key)
    assert box.output(key) == f"{SEEN}begun\nstill data\n"
    assert second.wait(PATIENCE) == 0
    evict(box)
    assert look(box) == {}
    assert list((box.state / "environments" / "built").iterdir()) == []
    assert box.complaints() == []


def evict(box: Box) -> None:
    """Have another process remove every kept tree and every environment that nobody uses."""
    code = (
        "import anyio, pathlib, sys\n"
        "from runner import blocking\n"
        "from runner.cache.trees import TreeCache\n"
        "from runner.environments.cache import EnvironmentCache\n"
        "environments, trees = map(pathlib.Path, sys.argv[1:])\n"
        "async def main():\n"
        "    await EnvironmentCache(environments, 0, blocking.Limit(1)).evict()\n"
        "    async with TreeCache(trees, 1): pass\n"
        "anyio.run(main)\n"
    )
    places = (box.state / "environments", box.root / "cache")
    subprocess.run([sys.executable, "-c", code, *map(str, places)], check=True)


def test_an_artifact_larger_than_the_disk_need_fails_every_time(box: Box) -> None:
    """Whether it is kept already or not, and although it would take no room of the experiment's."""
    files = {"train.py": "print('ran')", "zeros": "0" * 1_000_000}
    blob = box.artifact("blobstore/small.tgz", mutable=False)
    (box.storage / "blobstore" / "small.tgz").write_bytes(gzip.compress(packed(files)))
    start(box)
    causes = []
    for need in ("500kb", "64mb", "500kb"):
        message = box.message("")
        message["experiment"]["artifacts"]["workspace"] = blob
        message["experiment"]["resources_needed"]["hdd"] = need
        outcome = box.outcome(box.publish(message))
        causes.append(outcome["cause"])
        assert outcome["cause"] == "completed" or (
            "more than the 500000 bytes that the experiment's disk need allows" in outcome["detail"]
        )
    assert causes == ["artifact-bad", "completed", "artifact-bad"]
    assert [loan["reused"] for loan in loans(box)] == [False]
