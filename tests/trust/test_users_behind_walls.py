"""Two experiments at once, each a user of its own, behind the walls of each sandbox."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.supervisor.users import of_user
from tests.acceptance.box import until
from tests.passage import open_to_all
from tests.trust.boxes import TrustBox, need_two_users, trust_box

#: Of this process alone, like those of ``test_users``, and none of those.
FIRST = 86_000 + os.getpid() % 4_000 * 4
POOL = (FIRST, FIRST + 1)
RUN_AS = f"{FIRST}-{FIRST + 1}:{FIRST}"
SANDBOXES = [
    pytest.param(name, marks=pytest.mark.service(name) if name != "plain" else ())
    for name in ("plain", "bwrap", "apptainer")
]
#: Has a file and shared memory of its own, waits until both are there, and reaches for all that is
#: the other's, by its path and by its processes.
SCRIPT = """
import ctypes, json, os, time
uid, mine = os.getuid(), os.path.dirname(os.getcwd())
libc = ctypes.CDLL(None, use_errno=True)
with open("../modeldir/mine", "w") as file:
    file.write(f"mine of {uid}")
with open(f"/tmp/mine-of-{uid}", "w") as file:
    file.write(f"mine of {uid}")
assert libc.shmget(uid, 4096, 0o1600) >= 0
print("I AM", uid, mine, "indeed", flush=True)
while not os.path.exists(GO):
    time.sleep(0.02)
with open(GO) as file:
    told = json.load(file)
(other,) = [int(one) for one in told if int(one) != uid]
place, reached = told[str(other)], []

def reach(what, act):
    try:
        if act():
            reached.append(what)
    except OSError:
        pass

def holds(path):
    with open(path) as file:
        return "mine of" in file.read()

def plants(path):
    with open(path, "w") as file:
        return file.write("planted")

def belongs(pid):
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("Uid:"))
    return int(line.split()[1]) == other

for label in ("workspace", "output", "_tmp", "_home", "modeldir", "."):
    reach(f"list {label}", lambda: os.listdir(os.path.join(place, label)))
    reach(f"write {label}", lambda: plants(os.path.join(place, label, "planted")))
reach("its file", lambda: holds(os.path.join(place, "modeldir", "mine")))
reach("its file in /tmp", lambda: not SHARED_TMP and os.path.exists(f"/tmp/mine-of-{other}"))
reach("its file in /tmp, read", lambda: os.chmod(f"/tmp/mine-of-{other}", 0o666) is None)
reach("its memory", lambda: libc.shmget(other, 4096, 0) >= 0 and libc.shmat(
    libc.shmget(other, 4096, 0), None, 0) != -1)
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
    reach("its process", lambda: belongs(pid) and os.kill(pid, 0) is None)
    reach("its variables", lambda: belongs(pid) and open(f"/proc/{pid}/environ").read())
    reach("its directory", lambda: belongs(pid) and os.listdir(f"/proc/{pid}/cwd"))
reach("what is bound", lambda: plants(os.path.join(os.path.dirname(GO), "planted")))
with open("../modeldir/seen", "w") as file:
    json.dump(reached, file)
os.unlink(f"/tmp/mine-of-{uid}")
"""


@pytest.fixture
def box() -> Iterator[TrustBox]:
    """A machine on which users without a name can do without one."""
    need_two_users()
    with trust_box("pool") as made:
        made.root.chmod(0o755)
        yield made
    # What sweeps behind a run is that user, too, for a moment.
    until(lambda: not any(of_user(uid) for uid in POOL) or None, "nobody is left")


@pytest.fixture(params=SANDBOXES)
def options(request: pytest.FixtureRequest, box: TrustBox) -> list[str]:
    """What a daemon is told of its pool and its sandbox; a directory is shown to all."""
    (box.root / "shown").mkdir()
    (box.root / "shown").chmod(0o777)
    words = ["--run-as", RUN_AS, "--default-python", "/usr/bin/python3"]
    words += ["--sandbox", request.param, "--bind", f"{box.root}/shown:/srv:ro"]
    if request.param == "apptainer":
        image: Path = request.getfixturevalue("image")
        open_to_all(image)  # once more: another session of pytest closes the way
        words += ["--container", str(image)]
    return words


def test_two_at_once_reach_nothing_of_each_other(box: TrustBox, options: list[str]) -> None:
    """Files, memory, processes: neither is seen by the other; each is its own user, and goes home.

    What tells them to go on is in a directory that ``--bind`` shows to both.
    """
    box.start(*options)
    shared_tmp = options[options.index("--sandbox") + 1] == "plain"
    script = SCRIPT.replace("GO", repr("/srv/go")).replace("SHARED_TMP", repr(shared_tmp))
    keys = [box.submit(script) for _ in POOL]

    def told() -> dict[str, str] | None:
        lines = [line.split() for line in box.live_output().splitlines()]
        # To the last word: it may be in the middle of a line.
        whole = {line[2]: line[3] for line in lines if line[4:] == ["indeed"]}
        return whole if len(whole) == len(POOL) else None

    places = until(told, "both run", box.log)
    assert sorted(map(int, places)) == list(POOL)
    draft = box.root / "shown" / "draft"
    draft.write_text(json.dumps(places))
    draft.chmod(0o644)
    draft.rename(box.root / "shown" / "go")
    for key in keys:
        assert box.outcome(key)["cause"] == "completed", box.output(key)
        assert json.loads(box.stored(key, "modeldir", "seen")) == []
    for uid, key in zip(sorted(POOL), sorted(keys, key=lambda key: _who(box, key)), strict=True):
        assert box.stored(key, "modeldir", "mine").decode() == f"mine of {uid}"
    assert sorted(path.name for path in (box.root / "shown").iterdir()) == ["go"]
    box.wait_until_clean()
    assert box.complaints() == []


def _who(box: TrustBox, key: str) -> int:
    lines = box.output(key).splitlines()
    return int(next(line.split()[2] for line in lines if line.startswith("I AM")))
