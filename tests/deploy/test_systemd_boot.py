"""The service under a real systemd: installed, told to do everything it can, taken away again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box
from tests.deploy.booted import Machine, booted, until

UNIT = "studio-runner.service"
SLICE = "studio-runner-runs.slice"
SCRIPT = """
import os, time
print("began", open("/proc/self/cgroup").read(), os.geteuid(), flush=True)
print("sees", [name for name in ("1", "self") if os.path.isdir("/proc/" + name)], flush=True)
while not os.path.exists("/run/go"):
    time.sleep(0.05)
print("went on", flush=True)
"""
DROP_IN = "[Service]\nRestartSec=0\nStandardOutput=append:{log}\nStandardError=append:{log}\n"


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A booted machine; not in pytest's directory, which other users cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="studio-runner-", dir="/var/tmp"))
    try:
        with booted(folder) as found:
            yield found
    finally:
        log = folder / "shared/daemon.log"
        print(log.read_text() if log.exists() else "the daemon logged nothing")  # noqa: T201 - shown when the test fails
        shutil.rmtree(folder)


class Story:
    """What an operator and a sender do, in words."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.box = Box(machine.shared / "box")
        self.daemon_log = machine.shared / "daemon.log"

    def install(self) -> None:
        """Set the service up and give it options, as operators do."""
        self.machine.runner("install-service")
        options = {
            "QUEUE_ROOT": self.box.queues,
            "LOCAL_STORE_ROOT": self.box.root / "store",
            "MIN_FREE_DISK": "1%,64mib",
            "DEFAULT_PYTHON": "/usr/bin/python3",
            "KILL_GRACE": "1s",
            "LEASE": "10s",
            "RETRY_DELAY": "0s",
        }
        lines = "".join(f"STUDIO_RUNNER_{name}={value}\n" for name, value in options.items())
        self._write("/etc/studio-runner/environment", lines)
        self.machine.run("mkdir", f"/etc/systemd/system/{UNIT}.d")
        self.edit("log.conf", DROP_IN.format(log=self.daemon_log))

    def edit(self, name: str, text: str) -> None:
        """Change the unit by a drop-in."""
        self._write(f"/etc/systemd/system/{UNIT}.d/{name}", text)
        self.machine.run("systemctl", "daemon-reload")

    def _write(self, path: str, text: str) -> None:
        draft = self.machine.shared / "draft"
        draft.write_text(text)
        self.machine.run("sh", "-c", f"cat {draft} >{path}")

    def log(self) -> str:
        """Return what the daemon logged."""
        return self.daemon_log.read_text() if self.daemon_log.exists() else "nothing logged"

    def begin_a_run(self) -> tuple[str, str]:
        """Send an experiment that waits; return its key and its scope."""
        key = self.box.submit(SCRIPT)
        (scope,) = until(lambda: self.machine.scopes() or None, "a scope", self.log)
        until(lambda: "sees" in self.output() or None, "the run", self.log)
        return key, scope

    def output(self) -> str:
        """Return what running experiments have printed."""
        command = "cat /var/lib/studio-runner/work/experiments/*/output/output"
        return self.machine.run("sh", "-c", command, check=False)

    def adoptions(self) -> int:
        """Return how often a daemon adopted a run."""
        return self.log().count('"event": "adopted"')

    def pid(self) -> str:
        """Return the daemon's process id."""
        return self.machine.show(UNIT, "MainPID")

    def state(self) -> str:
        """Return the service's state."""
        return self.machine.show(UNIT, "ActiveState")


@pytest.mark.service("systemd-boot")
@pytest.mark.timeout(300)
def test_the_service_does_what_its_documentation_says(machine: Machine) -> None:
    """Reload, stop, start and the watchdog leave a run alone; stopping the slice ends one."""
    story = Story(machine)
    with story.box:
        story.install()
        # systemctl returns when the daemon has said that it is ready.
        machine.run("systemctl", "enable", "--now", UNIT)
        assert story.state() == "active", story.log()
        said = machine.runner("doctor", "--service", "settings", "service", "identity")
        assert "experiments run as studio-runner-experiments" in said
        assert "active (running)" in said
        key, scope = story.begin_a_run()
        said = story.output()
        assert f"studio-runner-runs.slice/{scope}" in said
        assert "sees ['1', 'self']" in said  # 1 is the first process of the run's own
        assert f" {machine.run('id', '-u', 'studio-runner-experiments').strip()}\n" in said

        pid = story.pid()
        machine.run("systemctl", "reload", UNIT)
        until(lambda: story.adoptions() == 1 or None, "the reloaded daemon", story.log)
        until(lambda: machine.show(UNIT, "SubState") == "running" or None, "running", story.log)
        assert (story.pid(), story.state()) == (pid, "active")

        story.edit("watchdog.conf", "[Service]\nWatchdogSec=8s\n")
        machine.run("systemctl", "stop", UNIT)
        how = (story.state(), machine.show(UNIT, "Result"))
        assert how == ("inactive", "success"), story.log()
        assert machine.scopes() == [scope]
        machine.run("systemctl", "start", UNIT)
        until(lambda: story.adoptions() == 2 or None, "the next daemon", story.log)

        pid = story.pid()
        machine.run("kill", "-STOP", pid)
        until(lambda: story.adoptions() == 3 or None, "the restarted daemon", story.log)
        assert machine.show(UNIT, "NRestarts") == "1"
        assert story.pid() != pid
        assert machine.scopes() == [scope]

        machine.run("touch", "/run/go")
        outcome = story.box.outcome(key)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1), story.log()
        assert story.box.output(key).count("began") == 1
        until(lambda: machine.scopes() == [] or None, "the end of the scope")

        machine.run("rm", "/run/go")
        _, scope = story.begin_a_run()
        machine.run("systemctl", "stop", SLICE)
        # It was no fault of the experiment's: the daemon tries again.
        until(lambda: set(machine.scopes()) - {scope} or None, "another attempt", story.log)
        assert scope not in machine.scopes()
        assert story.state() == "active"

        machine.runner("uninstall-service", "--purge")
        units = machine.run("systemctl", "list-unit-files", "studio-runner*", check=False)
        assert "studio-runner.service" not in units
        assert not machine.run("getent", "passwd", "studio-runner-experiments", check=False)
