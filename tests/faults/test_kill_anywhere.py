"""Whatever is killed, and whenever: every accepted experiment ends once, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.box import PATIENCE, Box, until

#: Two attempts of one experiment never run at the same time; each tells outside that it ran.
SCRIPT = """
import os, pathlib, time
times, alive = pathlib.Path({times!r}), pathlib.Path({alive!r})
with times.open('a') as file:
    file.write('ran\\n')
try:
    state = pathlib.Path('/proc', alive.read_text(), 'stat').read_text().rpartition(')')[2][1]
except OSError:
    state = 'X'
if state not in 'ZX':  # the dead may wait to be reaped
    with times.open('a') as file:
        file.write('beside another\\n')
alive.write_text(str(os.getpid()))
print('first line', flush=True)
{work}
print('last line')
alive.unlink()
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


@pytest.fixture
def wreck(tmp_path: Path) -> Iterator[Wreck]:
    """A machine of its own for every test."""
    with Wreck(tmp_path) as wreck:
        yield wreck


def phase(name: str) -> Callable[[Wreck, str], bool]:
    """Return what tells that the record says so."""
    return lambda wreck, _: any(one["phase"] == name for one in wreck.records())


def claim(state: str) -> Callable[[Wreck, str], bool]:
    """Return what tells that the claim record says so."""
    return lambda wreck, key: (wreck.claim(key) or {}).get("state") == state


def there(pattern: str) -> Callable[[Wreck, str], bool]:
    """Return what tells that a file is there."""
    return lambda wreck, _: wreck.has(pattern)


MOMENTS: dict[str, Callable[[Wreck, str], bool]] = {
    "the message is held": there("queues/.studio-runner/local_test/claims/*"),
    "the record is written": there("state/runs/*/record.json"),
    "the experiment is claimed": claim("running"),
    "it is made ready": there("state/work/experiments/*"),
    "the run is being started": there("state/runs/*/run.json"),
    "it runs": phase("running"),
    "it has ended": there("state/runs/*/exit.json"),
    "it is stored": there("store/storage/experiments/*/output.tar"),
    "the claim has ended": claim("ended"),
    "the record is removed": lambda wreck, key: bool(wreck.times(key) and not wreck.records()),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_a_daemon_killed_at_any_moment_loses_nothing(
    wreck: Wreck, moment: Callable[[Wreck, str], bool]
) -> None:
    """The next daemon finishes what it finds, runs what has to be run, and settles once."""
    daemon = wreck.ready()
    keys = [wreck.experiment()]
    end = time.monotonic() + PATIENCE
    while not moment(wreck, keys[-1]):
        assert time.monotonic() < end, wreck.log()
        if wreck.is_over(keys[-1]):  # we were not looking when it was
            keys.append(wreck.experiment())
    wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(*keys)
    wreck.check_gone(daemon)


def test_a_daemon_killed_again_and_again_loses_nothing(wreck: Wreck) -> None:
    """Several experiments, and many kills at moments that nobody chose."""
    offsets = random.Random(20)  # noqa: S311 - the same ones every time
    keys = [wreck.experiment() for _ in range(8)]
    for _ in range(9):
        daemon = wreck.begin()
        time.sleep(offsets.uniform(0.2, 0.9))  # any moment will do, and none is waited for
        wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(*keys)
    wreck.check_gone(daemon)


def test_a_run_whose_supervisor_is_killed_is_tried_again(wreck: Wreck) -> None:
    """Its processes are gone before that, and the cause is the host's."""
    daemon = wreck.ready()
    key = wreck.experiment(AT_FIRST_FOR_EVER)
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    os.kill(wreck.pid_of("pid"), signal.SIGKILL)
    wreck.check(key)
    record = wreck.claim(key)
    assert record is not None
    assert (record["attempt"], record["previous_cause"]) == (2, "host-fault")
    wreck.check_gone(daemon)


def test_a_run_that_lost_daemon_and_supervisor_is_tried_again(wreck: Wreck) -> None:
    """The next daemon finds the experiment's processes, ends them, and starts anew."""
    daemon = wreck.ready()
    script = "os.fork() or (os.setsid(), time.sleep(1000))\n" + AT_FIRST_FOR_EVER
    key = wreck.experiment(script)
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    supervisor = wreck.pid_of("pid")
    wreck.kill(daemon)
    os.kill(supervisor, signal.SIGKILL)
    daemon = wreck.begin()
    wreck.check(key)
    record = wreck.claim(key)
    assert record is not None
    assert record["attempt"] == 2
    wreck.check_gone(daemon)


def test_a_daemon_killed_while_it_drains_loses_nothing(wreck: Wreck) -> None:
    """What it was waiting for is finished by the next one, in the same attempt."""
    daemon = wreck.ready()
    key = wreck.experiment("time.sleep(1)")
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in wreck.log() or None, "draining", wreck.log)
    wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(key)
    assert wreck.times(key) == ["ran"]
    assert wreck.outcome(key)["attempt"] == 1
    wreck.check_gone(daemon)


def test_a_daemon_killed_while_it_stops_loses_nothing(wreck: Wreck) -> None:
    """The run is ended all the same, and the next daemon gives it another attempt."""
    daemon = wreck.ready()
    key = wreck.experiment(AT_FIRST_FOR_EVER)
    until(lambda: wreck.times(key) or None, "the run", wreck.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in wreck.log() or None, "draining", wreck.log)
    daemon.send_signal(signal.SIGTERM)

    def is_stopping() -> bool | None:
        """It may be over before we have looked."""
        return any(one["stop"] for one in wreck.records()) or daemon.poll() is not None or None

    until(is_stopping, "stopping", wreck.log)
    wreck.kill(daemon)
    daemon = wreck.begin()
    wreck.check(key)
    assert wreck.times(key) == ["ran", "ran"]
    wreck.check_gone(daemon)
