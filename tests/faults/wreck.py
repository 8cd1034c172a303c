"""A machine whose daemons and supervisors are killed, and the moments at which they are."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.acceptance.box import Box, until

#: Two attempts of one experiment never run at the same time; each tells outside that it ran.
SCRIPT = """
import fcntl, os, pathlib, time
times, alive = pathlib.Path({times!r}), open({alive!r}, 'a')
with times.open('a') as file:
    file.write('ran\\n')
try:
    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)  # with all that it forks
except BlockingIOError:
    with times.open('a') as file:
        file.write('beside another\\n')
print('first line', flush=True)
{work}
print('last line')
"""
WORK = "time.sleep(0.2)"
#: Only an attempt that is not the first one ends.
AT_FIRST_FOR_EVER = "time.sleep(1000 if times.read_text().count('ran') == 1 else 0)"
LEASE = ("--lease", "2s")


class Wreck(Box):
    """A box whose daemons are killed."""

    def begin(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a daemon with a lease that ends soon."""
        return self.start(*LEASE, *options)

    def ready(self) -> subprocess.Popen[bytes]:
        """Start a daemon and wait until it takes messages."""
        before = self.log().count("waiting for experiments") if self.has_log else 0
        daemon = self.begin()
        until(lambda: self.log().count("waiting for experiments") > before or None, "a daemon")
        return daemon

    @property
    def has_log(self) -> bool:
        """A daemon was started before."""
        return (self.root / "state.log").exists()

    def experiment(self, work: str = WORK, **fields: Any) -> str:
        """Queue the script and return its key."""
        key = f"test_{random.randrange(1 << 40):x}"  # noqa: S311 - a name
        script = SCRIPT.format(
            times=str(self.root / f"times.{key}"), alive=str(self.root / f"alive.{key}"), work=work
        )
        return self.submit(script, key=key, **fields)

    def times(self, key: str) -> list[str]:
        """Return what the experiment's attempts told outside."""
        file = self.root / f"times.{key}"
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def records(self) -> list[dict[str, Any]]:
        """Return the run records."""
        found = []
        for file in (self.state / "runs").glob("*/record.json"):
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

    def supervisors(self) -> list[int]:
        """Return the supervisors of this box that are alive."""
        found, ours = [], os.fsencode(self.state / "runs")
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                with suppress(OSError):
                    words = (place / "cmdline").read_bytes()
                    if ours in words and b"supervisor/main.py" in words:
                        found.append(int(place.name))
        return found

    def pid_of(self, name: str) -> int:
        """Return a pid out of the record of the one supervisor."""

        def read() -> int | None:
            for file in (self.state / "runs").glob("*/supervisor.json"):
                return int(json.loads(file.read_text())[name])
            return None

        return until(read, "a supervisor", self.log)

    def check(self, *keys: str) -> None:
        """See every experiment through, and see that it ended once and left nothing."""
        outcomes = {key: self.outcome(key) for key in keys}
        self.wait_until_clean()
        claims = self.queues / ".studio-runner" / "local_test"
        until(lambda: self.waiting() == [] or None, "an empty queue", self.log)
        until(lambda: not self.has("queues/.studio-runner/*/claims/*") or None, "no claim")
        assert self.dead() == []
        assert not any((claims / "delayed").glob("*"))
        for key, outcome in outcomes.items():
            assert outcome["cause"] == "completed", (key, outcome)
            times = self.times(key)
            assert set(times) == {"ran"}, (key, times)
            assert len(times) <= outcome["attempt"]
            lines = self.output(key).splitlines()
            assert lines[-2:] == ["first line", "last line"], (key, lines)
            assert lines.count("last line") == 1
            stored = self.storage / "experiments" / key
            assert [path.name for path in stored.glob("*output*")] == ["output.tar"]
        assert self.complaints() == []

    def check_gone(self, daemon: subprocess.Popen[bytes]) -> None:
        """Drain the last daemon, and see that no process is left."""
        assert self.drain(daemon) == 0
        until(lambda: self.processes() == [] or None, "no process")


Moment = Callable[[Wreck, str], bool]
"""Tells whether an experiment has come so far."""


def phase(name: str) -> Moment:
    """Return what tells that the record says so."""
    return lambda wreck, _: any(one["phase"] == name for one in wreck.records())


def claim(state: str) -> Moment:
    """Return what tells that the claim record says so."""
    return lambda wreck, key: (wreck.claim(key) or {}).get("state") == state


def there(pattern: str) -> Moment:
    """Return what tells that a file is there; ``KEY`` stands for the experiment's."""
    return lambda wreck, key: wreck.has(pattern.replace("KEY", key))


MOMENTS: dict[str, Moment] = {
    "the message is held": there("queues/.studio-runner/local_test/claims/*"),
    "the record is written": there("state/runs/*/record.json"),
    "the experiment is claimed": claim("running"),
    "it is made ready": there("state/work/experiments/*"),
    "the run is being started": there("state/runs/*/run.json"),
    "it runs": phase("running"),
    "its script has begun": lambda wreck, key: bool(wreck.times(key)),
    "it has ended": there("state/runs/*/exit.json"),
    "it is stored": there("store/storage/experiments/KEY/output.tar"),
    "the claim has ended": claim("ended"),
    "the record is removed": lambda wreck, key: bool(wreck.times(key) and not wreck.records()),
}
