"""A daemon that executes itself anew: the same process, the same runs, nothing twice."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.control.client import ask
from tests.acceptance.box import PATIENCE, Box, until

Json = dict[str, Any]
GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
print('done')
"""


class Manager:
    """The service manager's end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.02)
        self.variables = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
        self._said: list[str] = []

    def said(self) -> list[str]:
        """Return all lines until now."""
        with suppress(TimeoutError):
            while True:
                self._said += self._socket.recv(10000).decode().splitlines()
        return self._said

    def states(self) -> list[str]:
        """Return the states alone."""
        states = ("READY=1", "RELOADING=1", "STOPPING=1")
        return [line for line in self.said() if line in states]

    def until(self, line: str, times: int = 1) -> None:
        """Wait until a line that begins so was said so often."""
        until(
            lambda: sum(one.startswith(line) for one in self.said()) >= times or None,
            f"{times} times {line}",
            lambda: "\n".join(self._said),
        )

    def close(self) -> None:
        """Hear nothing any more."""
        self._socket.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Somebody who is told."""
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def command(box: Box, *words: str) -> tuple[int, str]:
    """Run a command of the client against the daemon; return its status and what it said."""
    whole = [sys.executable, "-m", "runner", *words, "--state-dir", str(box.state)]
    done = subprocess.run(
        whole,
        env=box.environ(),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout.decode()


def suspended(box: Box) -> list[str]:
    """Return who wants nothing to be claimed, as status tells it."""

    async def status() -> Json:
        (item,) = [item async for item in ask(box.state / "control.sock", "status")]
        return item

    return list(anyio.run(status)["daemon"]["suspended_by"])


def started(box: Box) -> str:
    """Queue a script that ends when the test says so, and wait until it runs."""
    key = box.submit(GO.format(go=str(box.root / "go")))
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    return key


def supervisor(box: Box) -> Json:
    """Return who supervises the one run."""
    (file,) = (box.state / "runs").glob("*/supervisor.json")
    return dict(json.loads(file.read_text()))


def descriptors(daemon: subprocess.Popen[bytes]) -> list[str]:
    """Return what the daemon has open, by kind."""
    found = []
    for file in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.append(str(file.readlink()).partition("[")[0])
    return sorted(found)


def quiet(daemon: subprocess.Popen[bytes]) -> list[str]:
    """Return what the daemon has open when that has not changed for a while."""
    seen = [descriptors(daemon)]

    def has_not_changed() -> bool | None:
        seen.append(descriptors(daemon))
        return seen[-10:] == [seen[-1]] * 10 or None

    until(has_not_changed, "a daemon that opens and closes nothing")
    return seen[-1]


def children(daemon: subprocess.Popen[bytes]) -> list[str]:
    """Return the daemon's children."""
    return Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()


def test_runs_go_on_through_reloads(box: Box, manager: Manager) -> None:
    """Same process, same run, one result, one message settled; a second daemon stays out.

    A signal during a reload is not lost, whichever of the two daemons is there to heed it.
    """
    daemon = box.start(variables=manager.variables)
    manager.until("READY=1")
    key = started(box)
    before = supervisor(box)
    opened: list[list[str]] = []
    for number in range(2):
        reloading = subprocess.Popen(
            [sys.executable, "-m", "runner", "reload", "--state-dir", str(box.state)],
            env=box.environ(),
            stdout=subprocess.PIPE,
        )
        if number == 0:
            assert box.start().wait(PATIENCE) != 0
        said, _ = reloading.communicate(timeout=PATIENCE)
        assert said.decode() == f"reloaded: process {daemon.pid} serves again, 1 under way\n"
        manager.until("READY=1", number + 2)
        opened.append(quiet(daemon))
    assert opened[0] == opened[1]
    assert supervisor(box) == before
    manager.until("WATCHDOG=1", 4)
    daemon.send_signal(signal.SIGHUP)
    until(lambda: True if box.log().count('"reloading"') == 3 else None, "a reload", box.log)
    daemon.send_signal(signal.SIGTERM)
    manager.until("STOPPING=1")
    (box.root / "go").touch()
    assert until(lambda: None if children(daemon) else True, "no zombie", box.log)
    assert daemon.wait(PATIENCE) == 0
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
    assert box.output(key) == "begun\ndone\n"
    box.wait_until_clean()
    assert [one["settled"] for one in box.settled()] == ["acked"]
    # Before the third ready the drain may have begun already.
    assert manager.states()[:5] == ["READY=1", *["RELOADING=1", "READY=1"] * 2]
    assert manager.states()[-1] == "STOPPING=1"
    assert box.complaints() == []


def test_a_daemon_that_would_not_start_again_is_kept(box: Box, manager: Manager) -> None:
    """A broken file is named to whoever asked, to the manager and in the log; then it is mended."""
    config = box.root / "runner.yaml"
    config.write_text("max-experiments: 1\n")
    daemon = box.start("--config", str(config), variables=manager.variables)
    manager.until("READY=1")
    config.write_text("max-experimnts: 1\n")
    status, said = command(box, "reload")
    assert status == 1
    assert "unknown key max-experimnts; did you mean max-experiments?" in said
    manager.until("STATUS=not reloaded: the new daemon would not start")
    assert manager.states() == ["READY=1", "RELOADING=1", "READY=1"]
    config.write_text(f"state-file: {box.root}/STATE\n")
    # Nothing that it could finish: it waits, whoever started it would only do so again.
    (box.root / "STATE").write_text("DrainAndTerminate")
    daemon.send_signal(signal.SIGHUP)
    manager.until(
        "STATUS=0 running; takes from 1 queue; nothing is claimed: "
        f"suspended by STATE in {box.root}/STATE"
    )
    (box.root / "STATE").unlink()
    until(lambda: True if suspended(box) == [] else None, "Running", box.log)
    assert daemon.poll() is None
    (box.root / "STATE").write_text("DrainAndTerminate")
    assert daemon.wait(PATIENCE) == 0


def test_what_is_suspended_stays_so_until_resumed(box: Box) -> None:
    """By the operator, across a reload, and by a file, until neither of them objects."""
    state = box.root / "STATE"
    daemon = box.start("--state-file", str(state))
    until(lambda: (box.state / "control.sock").exists() or None, "the socket", box.log)
    first = started(box)
    status, said = command(box, "suspend")
    assert (status, "1 go on" in said) == (0, True)
    waits = box.submit("print('waited')")
    assert command(box, "reload")[0] == 0
    assert suspended(box) == ["the operator"]
    state.write_text("DrainAndSuspend")
    until(lambda: suspended(box)[1:] or None, "STATE", box.log)
    assert command(box, "resume") == (1, f"the daemon is still suspended by STATE in {state}\n")
    (box.root / "go").touch()
    assert box.outcome(first)["cause"] == "completed"
    assert len(box.waiting()) == 1
    state.unlink()
    assert box.outcome(waits)["cause"] == "completed"
    assert box.drain(daemon) == 0
    assert box.complaints() == []


def test_a_reload_says_what_it_changes_and_refuses_what_it_cannot(box: Box) -> None:
    """First as a question, then in the answer and the log; what runs is not cut off from its place.

    A file with a mistake leaves all as it was, and status says so until it is mended.
    """
    config = box.root / "runner.yaml"
    config.write_text("web-token: first-long-token-1111\nmax-experiments: 1\n")
    daemon = box.start("--config", str(config))
    until(lambda: (box.state / "control.sock").exists() or None, "the socket", box.log)
    started(box)
    config.write_text("web-token: second-long-token-2222\nnetwork: off\nmax-experiments: 2\n")
    changed = [
        f"  --max-experiments: 2, was 1 (file {config}, key max-experiments)",
        f"  --network: off, was on (file {config}, key network; what runs keeps the old value)",
        f"  --web-token: ***, was another *** (file {config}, key web-token)",
    ]
    status, said = command(box, "reload", "--check")
    first, *changes = said.splitlines()
    assert (status, first) == (0, "it can be reloaded: 3 options would change")
    assert sorted(changes) == changed
    config.write_text(f"working-dir: {box.root}/elsewhere\n")
    status, said = command(box, "reload")
    assert status == 1
    assert "that cannot change under the 1 that run" in said
    config.write_text("max-experiments: many\n")
    assert command(box, "reload")[0] == 1
    assert "Not reloaded, the options of before count: the new daemon" in command(box, "status")[1]
    config.write_text("web-token: second-long-token-2222\nnetwork: off\nmax-experiments: 2\n")
    status, said = command(box, "reload")
    assert (status, sorted(said.splitlines()[1:])) == (0, changed)
    assert "Not reloaded" not in command(box, "status")[1]
    told = [json.loads(line) for line in box.log().splitlines() if "an option changes" in line]
    assert {(one["option"], one["before"], one["after"]) for one in told} == {
        ("max-experiments", "1", "2"),
        ("network", "on", "off"),
        ("web-token", "***", "***"),
    }
    (box.root / "go").touch()
    assert box.drain(daemon) == 0
    assert box.complaints() == []
