"""Experiments that are each a user of their own: what they are to each other, and what stays."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.supervisor.users import of_user
from tests.acceptance.box import Json, until
from tests.environments import packages
from tests.trust.boxes import TrustBox, need_two_users, trust_box

#: Of this process alone, like ``boxes.STRANGER``; no user of any machine.
FIRST = 66_000 + os.getpid() % 4_000 * 4
POOL = (FIRST, FIRST + 1)
RUN_AS = f"{FIRST}-{FIRST + 1}:{FIRST}"
MANY = ("--run-as", RUN_AS, "--default-python", "/usr/bin/python3")


@pytest.fixture
def box() -> Iterator[TrustBox]:
    """A machine on which users without a name can do without one."""
    need_two_users()
    with trust_box("pool") as made:
        made.root.chmod(0o755)
        yield made
    assert [uid for uid in POOL if of_user(uid)] == []


_WORDS = 6
#: Says who it is, and stays until the file is there.
_WAIT = """
import os, time
print("I AM", os.getuid(), os.getgid(), os.getgroups(), os.environ["USER"], flush=True)
while not os.path.exists({go!r}):
    time.sleep(0.02)
{more}
"""


def waits(box: TrustBox, more: str = "") -> str:
    """Return a script that waits for the box's ``go``."""
    return _WAIT.format(go=str(box.root / "go"), more=more)


def seen(box: TrustBox, count: int) -> list[int]:
    """Wait until so many experiments run, and return whom they say they are."""

    def told() -> list[int] | None:
        lines = [line.split() for line in box.live_output().splitlines()]
        whole = [line for line in lines if line[:2] == ["I", "AM"] and len(line) == _WORDS]
        return [int(line[2]) for line in whole] if len(whole) >= count else None

    return until(told, f"{count} experiments run", box.log)


def test_each_is_a_user_of_its_own_and_no_more_are_claimed_than_there_are(box: TrustBox) -> None:
    """The third waits until one of the two has ended, and is then who that was."""
    box.start(*MANY)
    keys = [box.submit(waits(box)) for _ in range(3)]
    assert sorted(seen(box, 2)) == list(POOL)
    assert len(box.waiting()) == 1
    (box.root / "go").touch()
    for key in keys:
        assert box.outcome(key)["cause"] == "completed", box.output(key)
        line = next(line for line in box.output(key).splitlines() if line.startswith("I AM"))
        _, _, uid, gid, groups, user = line.split()
        assert (int(uid) in POOL, int(gid), groups, user) == (True, FIRST, "[]", uid)
    box.wait_until_clean()
    assert "at most 2 at a time" in box.log()
    assert box.complaints() == []


#: Reaches for the workspaces and the processes of all others, by each way that one user has.
_REACH = """
import json, os, signal
found = {"signalled": [], "looked": [], "written": [], "read": []}
def uid_of(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[1])
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
    for way, act in (
        ("looked", lambda: os.listdir(f"/proc/{pid}/root/")),
        ("signalled", lambda: os.kill(pid, 0)),
    ):
        try:
            theirs = uid_of(pid) != os.getuid()
            act()
            if theirs:
                found[way].append(pid)
        except OSError:
            pass
places = os.path.dirname(os.path.dirname(os.getcwd()))
for name in NAMES:
    for label in ("workspace", "output", "_tmp", "_home", "_env", "modeldir"):
        path = os.path.join(places, name, label)
        try:
            os.listdir(path)
            found["read"].append(path)
        except OSError:
            pass
        try:
            open(os.path.join(path, "planted"), "w")
            found["written"].append(path)
        except OSError:
            pass
os.makedirs("../modeldir", exist_ok=True)
json.dump(found, open("../modeldir/seen", "w"))
"""


def test_none_can_read_write_or_end_another_without_any_sandbox(box: TrustBox) -> None:
    """By file permissions alone: as in a container where nothing can be mounted."""
    box.start(*MANY, wrapper=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"))
    victim = box.submit(waits(box))
    seen(box, 1)
    places = box.state / "work" / "experiments"
    names = [place.name for place in places.iterdir()]
    assert len(names) == 1
    key = box.submit(_REACH.replace("NAMES", repr(names)))
    found = box.seen(key)
    assert found == {"signalled": [], "looked": [], "written": [], "read": []}, found
    for name in names:
        modes = {at.name: stat.S_IMODE(at.stat().st_mode) for at in (places / name).iterdir()}
        assert {mode & 0o077 for mode in modes.values()} <= {0}, modes
    (box.root / "go").touch()
    assert box.outcome(victim)["cause"] == "completed"


#: Leaves what it can: a process that nobody descends from, files, memory, a queue.
_LEAVE = """
import ctypes, os, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
assert libc.shmget({key}, 4096, 0o1666) >= 0
assert libc.semget({key}, 1, 0o1666) >= 0
assert libc.msgget({key}, 0o1666) >= 0
deep = tempfile.mkdtemp(prefix="left-{key}-", dir="/tmp")
os.mkdir(os.path.join(deep, "inner"))
open(os.path.join(deep, "inner", "file"), "w").close()
os.chmod(os.path.join(deep, "inner"), 0o500)
os.chmod(deep, 0o500)
open("/dev/shm/left-{key}", "w").close()
print("left")
"""


def test_nothing_of_one_is_left_for_the_next(box: TrustBox) -> None:
    """Who is that user next would own it: files where all may write, memory that has a number."""
    box.start(*MANY)
    key = box.submit(_LEAVE.format(key=FIRST))
    assert box.outcome(key)["cause"] == "completed", box.output(key)
    box.ended(key)
    until(lambda: not _left() or None, "nothing is left", box.log)


def _left() -> list[str]:
    files = [*Path("/tmp").glob(f"left-{FIRST}-*"), *Path("/dev/shm").glob(f"left-{FIRST}")]  # noqa: S108 - looked at
    found = [str(path) for path in files]
    for kind in ("shm", "sem", "msg"):
        lines = Path("/proc/sysvipc", kind).read_text().splitlines()[1:]
        found += [line for line in lines if line.split()[0] == str(FIRST)]
    return found


def test_an_adopted_run_keeps_its_user_and_nobody_else_gets_it(box: TrustBox) -> None:
    """The daemon is killed; the next one has as many users less."""
    daemon = box.start(*MANY)
    first = box.submit(waits(box))
    (taken,) = seen(box, 1)
    box.kill(daemon)
    box.start(*MANY)
    others = [box.submit(waits(box)) for _ in range(2)]
    assert sorted(seen(box, 2)) == list(POOL)
    assert taken in POOL
    assert len(box.waiting()) == 1
    (box.root / "go").touch()
    for key in (first, *others):
        assert box.outcome(key)["cause"] == "completed", box.output(key)
    box.wait_until_clean()


def test_a_user_with_a_process_of_somebody_elses_is_not_used(box: TrustBox) -> None:
    """It is not ended, either, for it was there before us; who it is stands in the log once."""
    stranger = subprocess.Popen(
        ["/bin/sleep", "600"], user=FIRST, group=FIRST, extra_groups=(), start_new_session=True
    )
    try:
        box.start(*MANY)
        key = box.submit(waits(box))
        assert seen(box, 1) == [FIRST + 1]
        assert stranger.poll() is None
        (box.root / "go").touch()
        assert box.outcome(key)["cause"] == "completed"
        assert box.log().count("a user of --run-as has processes") == 1
    finally:
        stranger.kill()
        stranger.wait()


def test_whoever_the_user_is_goes_with_the_run(box: TrustBox) -> None:
    """Also a process that the run never had anything to do with."""
    box.start(*MANY)
    key = box.submit(waits(box))
    (uid,) = seen(box, 1)
    alien = subprocess.Popen(
        ["/bin/sleep", "600"], user=uid, group=uid, extra_groups=(), start_new_session=True, env={}
    )
    (box.root / "go").touch()
    assert box.outcome(key)["cause"] == "completed"
    assert alien.wait(60) == -signal.SIGKILL


def test_what_is_kept_of_an_artifact_is_everybodys_own(box: TrustBox) -> None:
    """Fetched once, by no user; each run changes it as if it were its own, the others see nothing.

    Modes and times are those of the archive.
    """
    box.start(*MANY, "--cache-dir", str(box.root / "cache"), "--cache-size", "1gib")
    script = (
        "import json, os\n"
        "at = os.stat('train.py'); seen = [os.getuid() == at.st_uid, at.st_mode & 0o777]\n"
        "open('train.py', 'a').write('# mine'); os.chmod('train.py', 0o700)\n"
        "os.utime('train.py', (1, 1)); os.rename('train.py', 'moved')\n"
        "seen.append(os.listdir('.'))\n"
        "os.makedirs('../modeldir', exist_ok=True)\n"
        "json.dump(seen, open('../modeldir/seen', 'w'))\n"
        f"import time\nwhile not os.path.exists({str(box.root / 'go')!r}): time.sleep(0.02)\n"
    )
    message = box.message(script + "#" * (512 << 10))  # what is tiny is copied
    workspace = message["experiment"]["artifacts"]["workspace"]
    keys = [box.publish(_again(box, script, workspace)) for _ in range(2)]
    until(lambda: len(_loans(box)) == 2 or None, "two loans", box.log)
    (box.root / "go").touch()
    for key in keys:
        assert box.outcome(key)["cause"] == "completed", box.output(key)
        assert json.loads(box.stored(key, "modeldir", "seen")) == [True, 0o644, ["moved"]]
    assert sorted(loan["reused"] for loan in _loans(box)) == [False, True]
    if not all(loan["attached"] for loan in _loans(box)):
        pytest.skip("no overlay can show files as another user's here: they were copied")


def _again(box: TrustBox, script: str, workspace: Json) -> Json:
    message = box.message(script)
    message["experiment"]["artifacts"]["workspace"] = workspace
    return message


def _loans(box: TrustBox) -> list[Json]:
    lines = (json.loads(line) for line in box.log().splitlines())
    return [line for line in lines if line.get("event") == "artifact from the cache"]


#: 0600, 0500, a directory with a set-group bit, and what nobody may read.
_MODES = """
import os
os.makedirs("../modeldir/closed/inner", exist_ok=True)
for name, mode in (("secret", 0o600), ("nothing", 0o000), ("shared", 0o664)):
    path = os.path.join("../modeldir", name)
    with open(path, "w") as file:
        file.write(name)
    os.chmod(path, mode)
open("../modeldir/closed/inner/file", "w").write("deep")
os.chmod("../modeldir/closed/inner", 0o500)
os.chmod("../modeldir/closed", 0o2500)
os.umask(0o077)
open("../modeldir/private", "w").write("private")
os.chmod("../modeldir", 0o500)
os.chmod(".", 0o500)
"""


def test_what_a_run_made_comes_home_and_goes_whatever_its_modes(box: TrustBox) -> None:
    """Root reads what its owner keeps to itself, and leaves no directory that is closed."""
    box.start(*MANY)
    key = box.submit(_MODES)
    assert box.outcome(key)["cause"] == "completed", box.output(key)
    for name in ("secret", "nothing", "shared", "private"):
        assert box.stored(key, "modeldir", name) == name.encode()
    assert box.stored(key, "modeldir", "closed/inner/file") == b"deep"
    box.wait_until_clean()
    assert box.complaints() == []


def test_code_of_packages_runs_as_the_user_whose_experiment_it_is(box: TrustBox) -> None:
    """And what it has built is root's, for all experiments of its queue to use."""
    shelf = box.root / "shelf"
    packages.source(shelf, "curious", code='raise SystemExit(f"BUILT BY {os.getuid()}")')
    packages.source(shelf, "handmade")
    box.start(*MANY, "--no-index", "--find-links", str(shelf))
    key = box.submit("print('never')", pythonenv=["curious==1.0"])
    assert box.outcome(key)["cause"] == "requirements"
    assert any(f"BUILT BY {uid}" in box.output(key) for uid in POOL), box.output(key)
    script = "import handmade, os; print(handmade.VERSION, os.stat(handmade.__file__).st_uid)"
    first, second = [box.submit(script, pythonenv=["handmade==1.0"]) for _ in range(2)]
    for key in (first, second):
        assert box.outcome(key)["cause"] == "completed", box.output(key)
        assert box.output(key).splitlines()[-1].endswith(" 0"), box.output(key)
    box.wait_until_clean()
