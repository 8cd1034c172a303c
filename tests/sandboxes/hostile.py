"""Hostile experiments beside a harmless one, below a daemon with something to hide."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from tests.acceptance.box import Json, until
from tests.environments import packages
from tests.sandboxes.attempts import OF_BUILDS
from tests.trust.boxes import MARK, STRANGER, TrustBox

SCRIPT = Path(__file__).with_name("attempts.py").read_text()
#: Of a package: does in its build what the script does in a run, and fails with what it could.
BUILD = """
import json, sys
space = {{"__name__": "attempts"}}
exec(compile({script!r}, "attempts", "exec"), space)
done = space["try_all"]({plan!r}, space["OF_BUILDS"])
could = [row for row in done if done[row]]
raise SystemExit("SUCCEEDED IN " + json.dumps(could) + " AS " + str(os.getuid()))
"""
#: Prints the number of a segment of System V, which holds what it is told.
SHARES = """
import ctypes, sys
libc = ctypes.CDLL(None)
number = libc.shmget(0, 4096, 0o1600)
libc.shmat.restype = ctypes.c_void_p
place = libc.shmat(number, None, 0)
ctypes.memmove(place, sys.argv[1].encode(), len(sys.argv[1]))
print(number)
"""
#: Rows for what only who stands outside can tell.
LEFT = "leave files in /tmp"
CACHES = "write into the caches"
CHANGES = "change what the daemon keeps"
LINGERS = "survive by double fork and setsid"
ORPHAN = "survive so with its variables shed, when its supervisor was killed"
SMUGGLES = "have others' files stored, by links in its output"
HANGS = "hang the storing, by pipes and devices in its output"
EVERYBODY = "end others by killing all that it may (kill -9 -1)"
#: What it takes too much of: what is submitted, and the cause of which it dies where it is kept.
HUNGER = {
    "use more memory than it asked for": ("take memory", "out-of-memory"),
    "fill the table of processes": ("take processes", "too-many-processes"),
    "write more to the disk than it asked for": ("take disk", "out-of-disk"),
}
#: Of memory: a third of what is taken.
ASKED = "64m"
#: Of processes and threads.
PIDS_LIMIT = 100
OF_BUILD = ", from a setup.py"


class Keeps:
    """All that a daemon has to itself besides its credentials: files, and directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: As Kubernetes mounts a secret.
        self.volume = root / "mounted"
        self.token = self.volume / "token"
        planted(self.volume / "..1" / "token")
        (self.volume / "..data").symlink_to("..1")
        self.token.symlink_to("..data/token")
        self.wish = planted(root / "wishes" / "state")
        self.wish.write_text(f"Running\n\n# {MARK}")
        self.folders = [root / name for name in ("senders", "sealing", "lab/fleet")]
        for folder in self.folders:
            planted(folder / ".planted")

    @property
    def options(self) -> tuple[str, ...]:
        """Return what tells the daemon of them."""
        return (
            *("--web-token-file", str(self.token), "--state-file", str(self.wish)),
            *("--request-signatures-dir", str(self.folders[0])),
            *("--encrypt-dir", str(self.folders[1]), "--clear-text-messages"),
            *("--fleet-store", f"file://{self.root / 'lab'}"),
        )

    def rotate(self) -> None:
        """Replace the token, as Kubernetes does."""
        planted(self.volume / "..2" / "token")
        (self.volume / "..new").symlink_to("..2")
        (self.volume / "..new").rename(self.volume / "..data")

    @property
    def places(self) -> list[Path]:
        """Return what an experiment tries."""
        state = self.root / "state"
        own = [state / name for name in ("runs", "owner", "lock", "recent.jsonl", "dead-letters")]
        other = [self.root / name for name in ("certs", "queues", "state-locks")]
        return [self.token, self.volume / "..2", self.wish, *self.folders, *own, *other]

    @property
    def are_spoilt(self) -> bool:
        """Tell whether something is not what it was."""
        files = (path / "spoilt" if path.is_dir() else path for path in self.places)
        return any(path.is_file() and b"spoilt" in path.read_bytes() for path in files)


class Ordeal:
    """One daemon, one harmless experiment, and hostile ones."""

    def __init__(self, box: TrustBox, sandbox: str, image: Path | None = None) -> None:
        self.box = box
        self.sandbox = sandbox
        self.container = ["--container", str(image)] if image else []
        self.left = Path(f"/tmp/{box.root.name}-left")  # noqa: S108 - it is tried
        self.credential = planted(box.root / "certs" / ".spare" / "credentials")
        self.home = planted(box.root / "notes")
        self.keeps = Keeps(box.root)
        self.cache = box.root / "cache"
        self.shelf = box.root / "shelf"
        self.door = socket.create_server(("127.0.0.1", 0))
        self.nameless = socket.socket(socket.AF_UNIX)
        self.nameless.bind(f"\0{box.root.name}")
        self.nameless.listen()
        #: Of the experiments' user, as another experiment would leave it.
        self.memory = Path(f"/dev/shm/{box.root.name}")  # noqa: S108 - it is tried
        self.segment = -1
        self.plan: Json = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.door.close()
        self.nameless.close()
        self.left.unlink(missing_ok=True)
        self.memory.unlink(missing_ok=True)
        if self.segment >= 0:
            subprocess.run(["/usr/bin/ipcrm", "-m", str(self.segment)], check=True)
        for process in lingering(self.box.root.name):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def begin(self) -> None:
        """Start the daemon and the harmless experiment."""
        box = self.box
        packages.source(self.shelf, "handmade")
        self.daemon = box.begin(
            *("--certs-dir", str(box.root / "certs"), "--cache-dir", str(self.cache)),
            *("--sandbox", self.sandbox, *self.container, "--max-cores", "8"),
            *("--no-index", "--find-links", str(self.shelf), "--max-attempts", "1"),
            *("--pids-limit", str(PIDS_LIMIT), *self.keeps.options),
            PLANTED=f"{MARK}environment",
        )
        self.neighbour = box.submit_neighbour(box.root / "go")
        self.keeps.rotate()
        self.share_memory()
        (mine,) = (box.state / "work" / "experiments").glob("*/modeldir/mine")
        environments = box.state / "environments"
        self.plan = {
            "mark": [MARK[:4], MARK[4:]],
            "credentials": [str(self.credential)],
            "kept": [str(path) for path in self.keeps.places],
            "home": str(self.home),
            "neighbour": str(mine),
            "caches": [
                *(str(self.cache), str(environments)),
                *(str(environments / "uv"), str(environments / "uv" / "wheels")),
            ],
            "control": str(box.state / "control.sock"),
            "port": self.door.getsockname()[1],
            "nameless": box.root.name,
            "memory": str(self.memory),
            "segment": self.segment,
            "key": box.root.name,
            "left": str(self.left),
            "processes": 2 * PIDS_LIMIT,
            "lingers": f"lingers-{box.root.name}",
            "orphan": f"orphan-{box.root.name}",
        }

    def share_memory(self) -> None:
        """Leave shared memory of both kinds, which only the experiments' user may read."""
        planted(self.memory)
        os.chown(self.memory, STRANGER, STRANGER)
        self.memory.chmod(0o600)
        command = ["/usr/bin/python3", "-c", SHARES, MARK]
        told = subprocess.run(command, check=True, capture_output=True, user=STRANGER)
        self.segment = int(told.stdout)

    def submit(self, act: str) -> str:
        """Queue a hostile experiment."""
        plan = json.dumps({**self.plan, "act": act})
        message = self.box.message(SCRIPT, args=[plan])
        message["config"]["saveWorkspaceFrequency"] = "1s"
        message["experiment"]["resources_needed"]["ram"] = ASKED
        return self.box.publish(message)

    def of_run(self) -> dict[str, bool]:
        """Return what an experiment succeeded in."""
        seen = self.box.seen(self.submit("try"))
        seen[LEFT] = self.left.exists()
        self.left.unlink(missing_ok=True)
        seen[LINGERS] = bool(lingering(self.plan["lingers"]))
        return self.true(seen)

    def true(self, seen: dict[str, bool]) -> dict[str, bool]:
        """Return what did not only look like it: private places may go by the same names."""
        spoilt = any(Path(place, "spoilt").exists() for place in self.plan["caches"])
        changed = self.keeps.are_spoilt
        return {**seen, CACHES: seen[CACHES] and spoilt, CHANGES: seen[CHANGES] and changed}

    def of_build(self) -> dict[str, bool]:
        """Return what the build of a package succeeded in."""
        code = BUILD.format(script=SCRIPT, plan=self.plan)
        packages.source(self.shelf, "hostile", code=code)
        key = self.box.submit("print('never')", pythonenv=["hostile==1.0"])
        assert self.box.outcome(key)["cause"] == "requirements"
        lines = self.box.output(key).splitlines()
        said = next((line for line in lines if "SUCCEEDED IN" in line), "")
        assert said, self.box.output(key)
        could = json.loads(said.partition("SUCCEEDED IN ")[2].partition(" AS ")[0])
        seen = {row: row in could for row in OF_BUILDS}
        seen[LINGERS] = bool(lingering(self.plan["lingers"]))
        return {row + OF_BUILD: could for row, could in self.true(seen).items()}

    def of_output(self) -> dict[str, bool]:
        """Return what was stored that is others'."""
        key = self.submit("smuggle")
        cause = self.box.outcome(key)["cause"]
        stored = (self.box.storage / "experiments" / key).rglob("*")
        files = [path.read_bytes() for path in stored if path.is_file()]
        secrets = [MARK.encode(), Path("/etc/shadow").read_bytes().splitlines()[0]]
        found = any(secret in content for content in files for secret in secrets)
        return {SMUGGLES: found, HANGS: cause not in {"completed", "results-denied"}}

    def of_orphan(self) -> dict[str, bool]:
        """Return whether something outlives the supervisor."""
        key = self.submit("be orphaned")
        until(lambda: "orphan" in self.box.live_output() or None, "the orphan", self.box.log)
        until(lambda: lingering(self.plan["orphan"]) or None, "what is left", self.box.log)
        for run in (self.box.state / "runs").iterdir():
            if json.loads((run / "record.json").read_bytes())["key"] == key:
                os.kill(json.loads((run / "supervisor.json").read_bytes())["pid"], signal.SIGKILL)
        assert self.box.outcome(key)["cause"] == "host-fault"
        return {ORPHAN: bool(lingering(self.plan["orphan"]))}

    def of_hunger(self) -> dict[str, bool]:
        """Return what was had of the machine beyond what was asked for."""
        keys = {row: self.submit(act) for row, (act, _) in HUNGER.items()}
        causes = {row: self.box.outcome(key)["cause"] for row, key in keys.items()}
        return {row: causes[row] != cause for row, (_, cause) in HUNGER.items()}

    def of_everybody(self) -> dict[str, bool]:
        """Return whether somebody else died of it."""
        key = self.submit("end everybody")
        with suppress(AssertionError):
            self.box.outcome(key, patience=20)
        claim = self.box.claim(self.neighbour)
        lives = self.daemon.poll() is None and claim is not None and claim["state"] == "running"
        return {EVERYBODY: not lives}


def planted(path: Path) -> Path:
    """Make a file that everybody may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{MARK}{path.name}\n")
    path.chmod(0o644)
    return path


def lingering(name: str) -> list[psutil.Process]:
    """Return the processes that were left under a name."""
    return [process for process in processes() if any(name in word for word in named(process)[:1])]


def processes() -> Iterable[psutil.Process]:
    """Return all."""
    return psutil.process_iter()


def named(process: psutil.Process) -> list[str]:
    """Return a process's command; nothing when it has just gone."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
