"""A machine whose daemons and supervisors are killed, and the moments at which they are."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.acceptance.box import PATIENCE, Box, Json, until
from tests.faults import leftovers
from tests.faults.brokers import Broker, LocalQueue
from tests.faults.kinds import KINDS, Kind, fault_of, record_of, script
from tests.faults.shelves import LocalShelf, Shelf
from tests.servers.nvml import Card, Nvml

WORK = "time.sleep(0.2)"
#: Only an attempt that is not the first one ends.
AT_FIRST_FOR_EVER = "time.sleep(0 if not first else 1000)"
LEASE = ("--lease", "2s")
#: Less than the workspaces of one box together, so that there is always something to evict.
CACHE_SIZE = 4 << 20
#: What a workspace weighs, once packed: nothing could compress it.
_BALLAST = 200_000
_SERVES = b"waiting for experiments"


class Wreck(Box):
    """A box whose daemons are killed; they share one queue and one store.

    There may be several daemons, each a host of its own: a state directory, locks and a cache.
    """

    def __init__(
        self,
        root: Path,
        broker: Broker | None = None,
        shelf: Shelf | None = None,
        driver: Path | None = None,
    ) -> None:
        """``driver`` is the directory of a compiled ``nvml_stub``: then each host has two cards."""
        super().__init__(root)
        self.driver = driver
        self.broker = broker or LocalQueue(self.queues)
        self.shelf = shelf or LocalShelf(self.storage)
        #: Names of the kinds of what was sent, by key.
        self.kinds: dict[str, str] = {}
        certs = root / "certs"
        certs.mkdir(mode=0o700)
        self.broker.write(certs / "lab")

    # ------------------------------------------------------------------ daemons

    def options(self, state: str = "state") -> list[str]:
        """Add what the broker and the store need; a cache in which there is not room for all."""
        own = {
            "--certs-dir": self.root / "certs",
            "--queue-match": f"^{re.escape(self.broker.queue)}$",
            "--queue-refresh": "1s",
            "--cache-size": f"{CACHE_SIZE >> 20}mib",
        }
        words = [str(word) for pair in own.items() for word in pair]
        return [*super().options(state), *words, "--allow-file-artifacts"]

    def begin(self, *options: str, state: str = "state") -> subprocess.Popen[bytes]:
        """Start a daemon with a lease that ends soon; later ``options`` win."""
        variables = {**self.broker.variables, **self._cards(state)}
        return self.start(*LEASE, *options, state=state, variables=variables)

    def _cards(self, state: str) -> Mapping[str, str]:
        """Return what shows a host its cards."""
        if self.driver is None:
            return {}
        nvml = Nvml(self.driver, self.root / f"{state}-cards")
        nvml.cards = [Card("NVIDIA L4", f"GPU-{state}-{number}") for number in range(2)]
        return nvml.variables

    def ready(
        self, *options: str, state: str = "state", patience: float = PATIENCE
    ) -> subprocess.Popen[bytes]:
        """Start a daemon and wait until it takes messages."""
        log = self.root / f"{state}.log"
        before = log.stat().st_size if log.exists() else 0
        daemon = self.begin(*options, state=state)
        self.serves(state, before, patience)
        return daemon

    def serves(self, state: str, since: int, patience: float = PATIENCE) -> None:
        """Wait until the log says behind its byte ``since`` that a daemon takes messages."""

        def told() -> bool | None:
            with (self.root / f"{state}.log").open("rb") as log:
                log.seek(since)
                return _SERVES in log.read() or None

        until(told, "a daemon", lambda: self.log(state), patience)

    def supervisors(self, state: str = "state", run: str = "") -> list[int]:
        """Return a host's supervisors that are alive, or the one of a run."""
        found, ours = [], os.fsencode(self.root / state / "runs" / run)
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                with suppress(OSError):
                    words = (place / "cmdline").read_bytes()
                    if ours in words and b"supervisor/main.py" in words:
                        found.append(int(place.name))
        return found

    def lose_supervisor(self, key: str) -> None:
        """Kill the supervisor of an experiment's first attempt, if that runs just now."""
        claim = self.claim(key) if self.times(key) == ["ran"] else None
        if claim is not None and claim["attempt"] == 1 and claim["state"] == "running":
            for state in self.root.glob("state*/runs"):
                for pid in self.supervisors(state.parent.name, claim["owner"]["run"]):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def pid_of(self, name: str) -> int:
        """Return a pid out of the record of the one supervisor."""

        def read() -> int | None:
            for file in (self.state / "runs").glob("*/supervisor.json"):
                return int(json.loads(file.read_text())[name])
            return None

        return until(read, "a supervisor", self.log)

    # ------------------------------------------------------------------ experiments

    def send(self, kind: str, chance: random.Random, *, seconds: float = 0.5) -> str:
        """Send an experiment of a kind; ``chance`` names it and fills its workspace."""
        key = f"test_{chance.randrange(1 << 40):010x}"
        text = script(KINDS[kind], key, self.root, seconds=seconds)
        self.kinds[key] = kind
        gpus = KINDS[kind].gpus if self.driver is not None else 0
        needs = {"cpus": 1, "gpus": gpus, "gpuCount": gpus, "ram": "256m", "hdd": "64m"}
        return self._send(key, text, chance.randbytes(_BALLAST), resources_needed=needs)

    def experiment(self, work: str = WORK, **fields: Any) -> str:
        """Send an experiment that does ``work``, and return its key."""
        key = f"test_{random.randrange(1 << 40):010x}"  # noqa: S311 - a name
        text = script(Kind(_literal(work)), key, self.root, seconds=0)
        return self._send(key, text, b"", **fields)

    def _send(self, key: str, text: str, ballast: bytes, **fields: Any) -> str:
        workspace = _packed({"train.py": text.encode(), "ballast": ballast})
        message = self.message("", workspace=workspace, key=key, **fields)
        blob = self.storage / message["experiment"]["artifacts"]["workspace"]["key"]
        self.shelf.dress(message, blob)
        status = self.root / "store" / "meta" / "experiments" / key
        status.write_text(json.dumps(message["experiment"]))
        self.broker.send(json.dumps(message))
        return key

    def times(self, key: str) -> list[str]:
        """Return what the experiment's attempts told outside."""
        file = self.root / f"times.{key}"
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def claim(self, key: str) -> Json | None:
        """Return the claim record of an experiment; ``None`` also while nobody can be asked."""
        try:
            return record_of(self.shelf.object(f"experiments/{key}/_claim.{key}.json"))
        except (OSError, http.client.HTTPException):
            return None

    def stored(self, key: str, label: str, member: str | None = None) -> bytes:
        """Return a file out of a stored artifact."""
        body = self.archive(key, label)
        assert body is not None, f"{key} has no {label}"
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            file = tar.extractfile(member or f"./{label}")
            assert file is not None
            return file.read()

    def archive(self, key: str, label: str) -> bytes | None:
        """Return a stored artifact."""
        return self.shelf.object(f"experiments/{key}/{label}.tar")

    def fault(self, key: str) -> str:
        """Say what is wrong with an experiment that has ended; empty: nothing."""
        record = self.claim(key)
        if record is None or record["state"] != "ended":
            return f"it has not ended: {record}"
        outcome = {**record["outcome"], "attempt": record["attempt"]}
        kind = KINDS[self.kinds[key]]
        return fault_of(kind, key, outcome, self.times(key), lambda one: self.archive(key, one))

    # ------------------------------------------------------------------ what is there

    def records(self, state: str = "*") -> list[dict[str, Any]]:
        """Return the run records."""
        found = []
        for file in self.root.glob(f"{state}/runs/*/record.json"):
            try:
                found.append(json.loads(file.read_text()))
            except FileNotFoundError:  # it has just ended
                continue
        return found

    def is_over(self, key: str) -> bool:
        """Tell whether an experiment has ended, and nothing more is done about it."""
        return (self.claim(key) or {}).get("state") == "ended" and not self.records()

    def has(self, pattern: str) -> bool:
        """Tell whether a file is there."""
        return any(True for _ in self.root.glob(pattern))

    def wait_until_empty(self) -> None:
        """Wait until nothing lies at the broker, and nothing can come back either."""
        since = time.monotonic()

        def stays_empty() -> bool | None:
            nonlocal since
            if self.broker.left():
                since = time.monotonic()
                return None
            return time.monotonic() - since >= self.broker.hidden or None

        until(stays_empty, "an empty queue", self.log)

    def complaints(self) -> list[str]:
        """Return the lines of every host's log that only a defect can cause."""
        signs = (
            "Traceback",
            "a defect of the runner",
            "trouble beside the experiments",
            "ended: internal",
        )
        found = []
        for log in self.root.glob("*.log"):
            with log.open() as lines:
                found += [line for line in lines if any(sign in line for sign in signs)]
        return found

    def left(self) -> list[str]:
        """Name everything that should not be there once all is over and every daemon has ended."""
        return leftovers.left(self)

    def check(self, *keys: str) -> None:
        """See every experiment through, and see that it ended once and left nothing."""
        outcomes = {key: self.outcome(key) for key in keys}
        self.wait_until_clean()
        self.wait_until_empty()
        for key, outcome in outcomes.items():
            assert outcome["cause"] == "completed", (key, outcome)
            times = self.times(key)
            assert set(times) == {"ran"}, (key, times)
            assert len(times) <= outcome["attempt"]
            lines = self.output(key).splitlines()
            assert lines[-1] == "last line", (key, lines)
            assert lines.count("last line") == 1
            names = self.shelf.names(f"experiments/{key}/")
            assert [name for name in names if "output" in name] == [f"experiments/{key}/output.tar"]
        assert self.complaints() == []

    def check_gone(self, daemon: subprocess.Popen[bytes]) -> None:
        """Drain the last daemon, and see that nothing of anything is left."""
        assert self.drain(daemon) == 0
        until(lambda: self.processes() == [] or None, "no process")
        assert self.left() == []


def _literal(work: str) -> str:
    """Have braces mean themselves."""
    return work.replace("{", "{{").replace("}", "}}")


def _packed(files: Mapping[str, bytes]) -> bytes:
    """Return a workspace archive in the client's form."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), int(time.time())
            tar.addfile(info, io.BytesIO(body))
    return stream.getvalue()


Moment = Callable[[Wreck, str], bool]
"""Tells whether an experiment has come so far."""


def phase(name: str) -> Moment:
    """Return what tells that the record says so."""
    return lambda wreck, _: any(one["phase"] == name for one in wreck.records())


def claim(state: str) -> Moment:
    """Return what tells that the claim record says so."""
    return lambda wreck, key: (wreck.claim(key) or {}).get("state") == state


def there(pattern: str) -> Moment:
    """Return what tells that a file is there."""
    return lambda wreck, _: wreck.has(pattern)


def stored(label: str) -> Moment:
    """Return what tells that an artifact lies in the store."""
    return lambda wreck, key: (
        f"experiments/{key}/{label}.tar" in wreck.shelf.names(f"experiments/{key}/")
    )


MOMENTS: Mapping[str, Moment] = {
    "the message is held": lambda wreck, _: bool(wreck.broker.is_holding()),
    "the record is written": there("state/runs/*/record.json"),
    "the experiment is claimed": claim("running"),
    "it is made ready": there("state/work/experiments/*"),
    "the run is being started": there("state/runs/*/run.json"),
    "it runs": phase("running"),
    "its script has begun": lambda wreck, key: bool(wreck.times(key)),
    "it has ended": there("state/runs/*/exit.json"),
    "it is stored": stored("output"),
    "the claim has ended": claim("ended"),
    "the record is removed": lambda wreck, key: bool(wreck.times(key) and not wreck.records()),
}


def moments(broker: Broker) -> list[str]:
    """Return the moments that can be seen with this broker."""
    unseen = {"the message is held"} if broker.is_holding() is None else set()
    return [name for name in MOMENTS if name not in unseen]
