"""A machine for acceptance tests: a real daemon, a local queue, a local store, one directory."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from runner.supervisor import groups, hierarchies

NOTHING: Mapping[str, str] = {}
#: Far more than anything here takes; a test that needs it has failed.
PATIENCE = 90.0
LABELS = ("modeldir", "retval", "output", "tb", "_metrics", "_metadata")

Json = dict[str, Any]
T = TypeVar("T")


class Box:
    """One runner's world. Daemons started here are killed with everything they run at ``close``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queues = root / "queues"
        self.storage = root / "store" / "storage"
        self.state = root / "state"
        self._daemons: list[subprocess.Popen[bytes]] = []
        (self.queues / "local_test").mkdir(parents=True)
        (self.storage / "blobstore").mkdir(parents=True)
        (root / "store" / "meta" / "experiments").mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self._daemons:
            if daemon.poll() is None:
                self.kill(daemon)
        self._end_leftovers()

    # ------------------------------------------------------------------ the daemon

    def start(
        self,
        *options: str,
        state: str = "state",
        variables: Mapping[str, str] = NOTHING,
        wrapper: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a daemon with further environment ``variables``, by ``wrapper`` where given."""
        command = [sys.executable, "-m", "runner", "run", *self.options(state), *options]
        with (self.root / f"{state}.log").open("ab") as log:
            daemon = subprocess.Popen(
                [*wrapper, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environ(), **variables},
            )
        self._daemons.append(daemon)
        return daemon

    def options(self, state: str = "state") -> list[str]:
        """Return the options that keep a daemon inside this box."""
        options = {
            "--queue-root": self.queues,
            # As root the daemon's own would be those of this machine: whose experiments would be
            # taken then, and killed with the test.
            "--certs-dir": self.root / "certs",
            "--local-store-root": self.root / "store",
            "--state-dir": self.root / state,
            "--lock-dir": self.root / f"{state}-locks",
            "--min-free-disk": "1%,1gib",
            "--log-format": "json",
            "--kill-grace": "1s",
            "--max-cores": "2",
            "--retry-delay": "0s",
            "--listen": "127.0.0.1:0",
            "--spot-notices": "off",  # the machine of the tests may be somebody's cloud
            "--default-python": sys.executable,
            # Experiments here see files beside their box, to be told when to go on; the variable
            # is for who wants to see them elsewhere all the same.
            "--sandbox": os.environ.get("STUDIO_RUNNER_SANDBOX", "plain"),
        }
        words = [str(word) for pair in options.items() for word in pair]
        return [*words, *(["--allow-root-experiments"] if os.geteuid() == 0 else [])]

    def environ(self) -> Mapping[str, str]:
        """Return a clean environment: what the developer has set is no part of a test."""
        kept = ("PATH", "SSL_CERT_FILE", "LANG", "TMPDIR")
        return {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(self.root)
        }

    def kill(self, daemon: subprocess.Popen[bytes]) -> None:
        """SIGKILL a daemon."""
        daemon.kill()
        daemon.wait()

    def drain(self, daemon: subprocess.Popen[bytes]) -> int:
        """SIGTERM a daemon and wait for its end."""
        daemon.send_signal(signal.SIGTERM)
        return daemon.wait(PATIENCE)

    def log(self, state: str = "state") -> str:
        """Return what a daemon logged."""
        return (self.root / f"{state}.log").read_text()

    def settled(self) -> list[Json]:
        """Return what has ended here, oldest first."""
        file = self.state / "recent.jsonl"
        # The daemon may be in the middle of a line.
        whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    # ------------------------------------------------------------------ experiments

    def message(self, script: str, *, workspace: bytes | None = None, **fields: Any) -> Json:
        """Return a message as a StudioML client writes it; ``fields`` go into ``experiment``."""
        key = fields.pop("key", f"test_{uuid.uuid4().hex[:8]}")
        blob = f"blobstore/{uuid.uuid4().hex}.tar"
        (self.storage / blob).write_bytes(
            packed({"train.py": script}) if workspace is None else workspace
        )
        artifacts = {label: self.artifact(f"experiments/{key}/{label}.tar") for label in LABELS}
        artifacts["workspace"] = self.artifact(blob, mutable=False)
        experiment: Json = {
            "key": key,
            "filename": "train.py",
            "args": [],
            "pythonenv": [],
            "pythonver": None,
            "project": "acceptance",
            "resources_needed": {"cpus": 1, "gpus": 0, "ram": "256m", "hdd": "64m"},
            "status": "waiting",
            "time_added": time.time(),
            "max_duration": "10m",
            "artifacts": artifacts,
        }
        experiment.update(fields)
        store = str(self.root / "store")
        return {
            "experiment": experiment,
            "config": {
                "database": {"type": "local", "endpoint": store, "bucket": "meta"},
                "storage": {"type": "local", "endpoint": store, "bucket": "storage"},
                "env": {},
            },
        }

    def artifact(self, key: str, *, mutable: bool = True) -> Json:
        """Return an artifact of the local store, with the client's malformed address."""
        qualified = f"file:/{self.storage / key}"
        return {"unpack": True, "mutable": mutable, "key": key, "qualified": qualified}

    def submit(self, script: str, **fields: Any) -> str:
        """Queue a script and return its key."""
        message = self.message(script, **fields)
        return self.publish(message)

    def publish(self, message: Json, queue: str = "local_test") -> str:
        """Queue a message and write its database object, as a client does."""
        key = str(message["experiment"]["key"])
        if len(key) < 200 and "/" not in key and "\0" not in key:
            database = self.root / "store" / "meta" / "experiments" / key
            database.write_text(json.dumps(message["experiment"]))
        self.publish_message(message, queue)
        return key

    def publish_message(self, message: Json, queue: str = "local_test") -> str:
        """Put a message on a queue and return the name of its file."""
        return self.publish_bytes(json.dumps(message).encode(), queue)

    def publish_bytes(self, body: bytes, queue: str = "local_test") -> str:
        """Put a body of any kind on a queue."""
        name = str(uuid.uuid4())
        draft = self.root / f"{name}.draft"
        draft.write_bytes(body)
        draft.rename(self.queues / queue / name)
        return name

    # ------------------------------------------------------------------ results

    def claim(self, key: str) -> Json | None:
        """Return the claim record of an experiment."""
        file = self.storage / "experiments" / key / f"_claim.{key}.json"
        return dict(json.loads(file.read_text())) if file.exists() else None

    def outcome(self, key: str, patience: float = PATIENCE) -> Json:
        """Wait until the experiment has ended and return its outcome."""

        def ended() -> Json | None:
            record = self.claim(key)
            return record if record and record["state"] == "ended" else None

        record = until(ended, f"{key} ended", self.log, patience)
        return {**record["outcome"], "attempt": record["attempt"]}

    def output(self, key: str) -> str:
        """Return the stored output."""
        return self.stored(key, "output").decode("utf-8", "replace")

    def stored(self, key: str, label: str, member: str | None = None) -> bytes:
        """Return a file out of a stored artifact."""
        with tarfile.open(self.storage / "experiments" / key / f"{label}.tar") as tar:
            file = tar.extractfile(member or f"./{label}")
            assert file is not None
            return file.read()

    def live_output(self) -> str:
        """Return what running experiments have printed so far."""
        logs = (self.state / "work" / "experiments").glob("*/output/output")
        return "".join(path.read_text(errors="replace") for path in logs)

    def dead(self, queue: str = "local_test") -> list[Path]:
        """Return the files of the dead letters."""
        place = self.queues / ".studio-runner" / queue / "dead"
        return sorted(place.iterdir()) if place.exists() else []

    def reason(self, name: str, queue: str = "local_test") -> str:
        """Wait until a message is buried, and return why."""
        place = self.queues / ".studio-runner" / queue / "dead"
        until(lambda: (place / name).exists() or None, f"{name} buried", self.log)
        return str(json.loads((place / f"{name}.reason.json").read_text())["reason"])

    def ended(self, word: str) -> Json:
        """Wait until an experiment's, or a queue's, last message is settled here; return how."""

        def ending() -> Json | None:
            endings = [e for e in self.settled() if word in (e["key"], e["queue"])]
            return endings[-1] if endings else None

        return until(ending, f"{word} settled", self.log)

    def waiting(self, queue: str = "local_test") -> list[str]:
        """Return the waiting messages."""
        return [path.name for path in (self.queues / queue).iterdir()]

    def wait_until_clean(self) -> None:
        """Wait until nothing of any experiment is left."""
        places = (self.state / "runs", self.state / "work" / "experiments")

        def is_clean() -> bool | None:
            return not any(place.exists() and any(place.iterdir()) for place in places) or None

        until(is_clean, "a clean machine", self.log)

    def peak_memory(self) -> int:
        """Return the most that the daemon which was started last ever had in memory, in bytes."""
        status = Path(f"/proc/{self._daemons[-1].pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def complaints(self) -> list[str]:
        """Return the lines of the log that only a defect can cause."""
        signs = (
            "Traceback",
            "a defect of the runner",
            "trouble beside the experiments",
            "ended: internal",
        )
        return [line for line in self.log().splitlines() if any(sign in line for sign in signs)]

    def processes(self) -> list[int]:
        """Return the daemons, supervisors and experiments of this box that are alive."""
        found = []
        for place in Path("/proc").iterdir():
            if not place.name.isdigit() or int(place.name) == os.getpid():
                continue
            with suppress(OSError):
                known = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
                if str(self.root).encode() in known:
                    found.append(int(place.name))
        return found

    def _end_leftovers(self) -> None:
        """End what a killed daemon left running; tests look at that first."""
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        groups.sweep(hierarchies.homes())  # as the next daemon would


def packed(files: Mapping[str, str]) -> bytes:
    """Return a workspace archive in the client's form."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text.encode()), int(time.time())
            tar.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


def until(
    found: Callable[[], T | None],
    what: str,
    log: Callable[[], str] = str,
    patience: float = PATIENCE,
) -> T:
    """Wait until ``found`` gives something."""
    end = time.monotonic() + patience
    while (result := found()) is None:
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}\n{log()[-4000:]}")
        time.sleep(0.02)
    return result
