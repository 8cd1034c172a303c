"""An experiment that looks for credentials, records and neighbours, below every kind of daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Json, until
from tests.trust.boxes import MARK, NO_MOUNTS, TrustBox, trust_box

#: Looks everywhere for what was planted, and tries to write there. Arguments: the mark in two
#: pieces, the directory to walk, what to write to.
SPY = r"""
import json, os, socket, sys
mark, top, targets = (sys.argv[1] + sys.argv[2]).encode(), sys.argv[3], sys.argv[4:]
seen = {"files": [], "names": [], "processes": [], "through": [], "written": [], "control": ""}

def holds(path):
    try:
        with open(path, "rb", 0) as file:
            return mark in file.read(1 << 20)
    except OSError:
        return False

for folder, folders, names in os.walk(top):
    seen["names"] += [os.path.join(folder, name) for name in (*folders, *names)]
    paths = [os.path.join(folder, name) for name in names]
    seen["files"] += [path for path in paths if holds(path)]
for pid in os.listdir("/proc"):
    if not pid.isdigit() or int(pid) == os.getpid():
        continue
    if holds(f"/proc/{pid}/environ"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                seen["processes"].append(file.read().decode("utf-8", "replace"))
        except OSError:
            pass
    for target in targets:
        if holds(f"/proc/{pid}/root{target}"):
            seen["through"].append(f"{pid} {target}")
for target in targets:
    path = os.path.join(target, "new") if os.path.isdir(target) else target
    try:
        with open(path, "ab") as file:
            file.write(b"spoilt")
        seen["written"].append(path)
    except OSError:
        pass
try:
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(os.path.join(top, "state", "control.sock"))
        seen["control"] = "connected"
except OSError as error:
    seen["control"] = type(error).__name__
with open("../modeldir/seen", "w") as file:
    json.dump(seen, file)
"""


class Scene:
    """A daemon with secrets in all its places, and two experiments."""

    def __init__(self, box: TrustBox) -> None:
        self.box = box
        root = box.root
        # A name with a dot: kept, and no credential. Open to all, as Kubernetes mounts secrets.
        self.certificate = _plant(root / "certs" / ".spare" / "credentials")
        self.key = _plant(root / "keys" / "google.json")
        self.hook = _plant(root / "keys" / "hook")
        self.message = _plant(root / "queues" / "private" / "message")
        self.letter = _plant(root / "state" / "dead-letters" / "queue" / "letter.json")
        for private in (root / "state", root / "state" / "dead-letters"):
            private.chmod(0o700)
        self.planted = (self.certificate, self.key, self.hook, self.message, self.letter)

    def play(self, spy: str = SPY) -> Json:
        """Run the neighbour and the spy, and return what the spy saw."""
        box, go = self.box, self.box.root / "go"
        box.begin(
            *("--certs-dir", str(box.root / "certs"), "--cache-dir", str(box.root / "cache")),
            *("--google-store-credentials", str(self.key), "--webhook-secret-file", str(self.hook)),
            PLANTED=f"{MARK}environment",
        )
        self.neighbour = box.submit_neighbour(go)
        targets = [
            *self.planted,
            *(path.parent for path in (self.certificate, self.message, self.letter)),
            *(box.state / "runs").glob("*/record.json"),
            *(box.state / "work" / "experiments").glob("*/modeldir/mine"),
            *(box.state / "environments").glob("*"),
            box.state / "recent.jsonl",
        ]
        before = self.state_of(targets)
        words = [MARK[:4], MARK[4:], str(box.root), *map(str, targets)]
        seen = box.seen(box.submit(spy, args=words))
        assert self.state_of(targets) == before
        go.touch()
        assert box.outcome(self.neighbour)["cause"] == "completed"
        box.wait_until_clean()
        assert box.complaints() == []
        return seen

    def state_of(self, targets: list[Path]) -> dict[str, object]:
        """Return what must not change."""
        return {
            str(path): sorted(path.iterdir()) if path.is_dir() else path.read_bytes()
            for path in targets
            if path.name not in {"recent.jsonl", "record.json"}
            and path.exists()
            # An environment may be built for the spy meanwhile.
            and "environments" not in path.parts
        }


def _plant(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{MARK}{path.name}\n")
    path.chmod(0o644)
    return path


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A machine for one test."""
    with trust_box(request.param) as box:
        yield Scene(box)


class Played:
    """What a spy saw below each kind of daemon, played once."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Scene, Json]] = {}

    def __call__(self, mode: str) -> tuple[Scene, Json]:
        """Return the scene, which is over, and what was seen."""
        if mode not in self._seen:
            with trust_box(mode) as box:
                scene = Scene(box)
                self._seen[mode] = (scene, scene.play())
        return self._seen[mode]


@pytest.fixture(scope="module")
def played() -> Played:
    """All scenes."""
    return Played()


@pytest.mark.parametrize("mode", ["another user", "ordinary user", "root"])
def test_no_credential_and_no_record_is_found(played: Played, mode: str) -> None:
    """Not by walking through all directories, though some files are open to everybody."""
    _, seen = played(mode)
    assert seen["files"] == []
    assert [name for name in seen["names"] if name.endswith("record.json")] == []
    assert seen["written"] == []


@pytest.mark.parametrize("mode", ["another user", "ordinary user", "root"])
def test_the_daemon_does_not_answer_an_experiment(played: Played, mode: str) -> None:
    """Its control socket is not there to connect to."""
    assert played(mode)[1]["control"] in {"FileNotFoundError", "PermissionError"}


@pytest.mark.parametrize("mode", ["another user", "ordinary user", "root"])
def test_no_other_experiments_directory_is_found(played: Played, mode: str) -> None:
    """In the place where all work an experiment finds itself alone."""
    scene, seen = played(mode)
    work = f"{scene.box.state}/work/experiments/"
    found = {name.removeprefix(work).split("/")[0] for name in seen["names"] if work in name}
    assert len(found) <= 1  # another user may not even list the directories above


def test_an_ordinary_users_processes_show_nothing(played: Played) -> None:
    """Neither the daemon nor another experiment can be looked into, nor seen through."""
    _, seen = played("ordinary user")
    assert (seen["processes"], seen["through"]) == ([], [])


def test_another_users_experiments_see_each_other_alone(played: Played) -> None:
    """All experiments are one user: README says so. The daemon shows them nothing."""
    scene, seen = played("another user")
    assert {"train.py" in command for command in seen["processes"]} <= {True}
    planted = tuple(map(str, scene.planted))
    assert [place for place in seen["through"] if place.endswith(planted)] == []


#: Tries to take the cover away again, with whatever an ordinary user may do.
UNCOVER = """
import json, os, subprocess, sys
found = []
top = sys.argv[1]
for command in (["umount", "-l", top], ["unshare", "-Urm", "umount", "-l", top],
                ["unshare", "-Urm", "sh", "-c", "umount -l " + top + "; ls -R " + top]):
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found.append(done.stdout)
with open("../modeldir/seen", "w") as file:
    json.dump({"found": found, "there": os.path.exists(os.path.join(top, ".spare"))}, file)
"""


@pytest.mark.parametrize("scene", ["another user", "ordinary user"], indirect=True)
def test_what_is_hidden_cannot_be_uncovered(scene: Scene) -> None:
    """Neither as it is nor as root of a namespace of its own."""
    scene.box.begin("--certs-dir", str(scene.box.root / "certs"))
    seen = scene.box.seen(scene.box.submit(UNCOVER, args=[str(scene.box.root / "certs")]))
    assert "credentials" not in json.dumps(seen["found"])
    assert not seen["there"]


@pytest.mark.parametrize("scene", ["ordinary user"], indirect=True)
def test_a_credential_that_appears_during_a_run_is_hidden_from_it(scene: Scene) -> None:
    """The directory is covered, not the files that it held when the run began."""
    box, go = scene.box, scene.box.root / "go"
    box.begin("--certs-dir", str(box.root / "certs"))
    waits = f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    script = f"import os, time\nprint('begun', flush=True)\n{waits}{SPY}"
    key = box.submit(script, args=[MARK[:4], MARK[4:], str(box.root / "certs")])
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    later = _plant(box.root / "certs" / ".later" / "credentials")
    os.chown(later, 65534, 65534)
    go.touch()
    assert box.seen(key)["files"] == []


@pytest.mark.parametrize("scene", ["ordinary user"], indirect=True)
def test_a_key_that_is_replaced_during_a_run_stays_hidden_from_it(scene: Scene) -> None:
    """Rotation puts another file in the place of the one that was covered."""
    box, go = scene.box, scene.box.root / "go"
    token = _plant(box.root / "token" / "key")
    box.begin("--web-token-file", str(token))
    waits = f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    script = f"import os, time\nprint('begun', flush=True)\n{waits}{SPY}"
    key = box.submit(script, args=[MARK[:4], MARK[4:], str(token.parent), str(token)])
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    new = _plant(token.with_suffix(".new"))
    os.chown(new, token.stat().st_uid, token.stat().st_gid)
    new.rename(token)
    go.touch()
    seen = box.seen(key)
    assert (seen["files"], seen["written"]) == ([], [])


@pytest.mark.parametrize("scene", ["another user", "ordinary user", "root"], indirect=True)
def test_links_among_the_hidden_do_not_hide_what_is_needed(scene: Scene) -> None:
    """Operators move the work and the environments to a larger disk, and leave links behind."""
    box = scene.box
    for name in ("work", "environments"):
        (box.root / "disk" / name).mkdir(parents=True)
        (box.state / name).symlink_to(box.root / "disk" / name)
    box.begin("--certs-dir", str(box.root / "certs"))
    key = box.submit("import pip; open('../modeldir/seen', 'w').write('{}')")
    assert box.seen(key) == {}


@pytest.mark.parametrize("scene", ["another user"], indirect=True)
def test_where_nothing_can_be_hidden_open_credentials_stop_the_start(scene: Scene) -> None:
    """As in a container: root says which directory is open to experiments, and what to do."""
    certs = ("--certs-dir", str(scene.box.root / "certs"))
    daemon = scene.box.begin(*certs, wrapper=NO_MOUNTS)
    assert daemon.wait(60) == 1
    assert f"who can read {certs[1]}" in scene.box.log()
    Path(certs[1]).chmod(0o700)
    scene.box.begin(*certs, wrapper=NO_MOUNTS)
    key = scene.box.submit(SPY, args=[MARK[:4], MARK[4:], certs[1]])
    assert scene.box.seen(key)["files"] == []


@pytest.mark.parametrize("scene", ["root"], indirect=True)
def test_where_nothing_can_be_hidden_from_root_it_is_said(scene: Scene) -> None:
    """Experiments run all the same, and the log says what they can read."""
    scene.box.begin("--certs-dir", str(scene.box.root / "certs"), wrapper=NO_MOUNTS)
    assert scene.box.outcome(scene.box.submit("print('ran')"))["cause"] == "completed"
    assert "they can read the credentials" in scene.box.log()


@pytest.mark.parametrize("scene", ["ordinary user"], indirect=True)
def test_the_daemons_process_is_closed_to_its_own_user(scene: Scene) -> None:
    """Its memory and its variables belong to root, also where no namespace keeps others out."""
    daemon = scene.box.begin("--certs-dir", str(scene.box.root / "certs"))
    until(lambda: (scene.box.state / "control.sock").exists() or None, "the daemon", scene.box.log)
    assert Path(f"/proc/{daemon.pid}/environ").stat().st_uid == 0
