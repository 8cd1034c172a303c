"""A person starts the daemon in a terminal, and presses Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, until

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
print('done')
"""
CTRL_C = b"\x03"


class Terminal:
    """A terminal with a daemon in its foreground, and what stands on its screen."""

    def __init__(self, box: Box) -> None:
        self._ours, theirs = pty.openpty()
        options = [*box.options(), "--log-format", "text", "--log-level", "info"]
        daemon = [sys.executable, "-m", "runner", "run", *options]
        try:
            self.daemon = subprocess.Popen(
                ["/usr/bin/env", "setsid", "--ctty", *daemon],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env={**box.environ(), "TERM": "dumb"},
            )
        finally:
            os.close(theirs)
        self._screen = b""

    def presses(self, key: bytes) -> None:
        """Press a key: the terminal makes a signal for its foreground of this one."""
        os.write(self._ours, key)

    def shows(self, *words: str) -> None:
        """Wait until one line of the screen has all these words."""

        def line() -> bool | None:
            while select.select([self._ours], [], [], 0.02)[0]:
                try:
                    self._screen += os.read(self._ours, 65536)
                except OSError:  # nobody is at the other end any more
                    break
            lines = self._screen.decode("utf-8", "replace").splitlines()
            return any(all(word in line for word in words) for line in lines) or None

        until(line, f"{words} on the screen", lambda: self._screen.decode("utf-8", "replace"))

    def close(self) -> None:
        """Close the window."""
        if self.daemon.poll() is None:
            self.daemon.kill()
        self.daemon.wait()
        os.close(self._ours)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.fixture
def terminal(box: Box) -> Iterator[Terminal]:
    """A daemon at a terminal."""
    terminal = Terminal(box)
    yield terminal
    terminal.close()


def begun(box: Box) -> str:
    """Have an experiment run; return its key."""
    key = box.submit(GO.format(go=str(box.root / "go")))
    until(lambda: "begun" in box.live_output() or None, "the run")
    return key


def test_ctrl_c_waits_for_what_runs_and_says_so(box: Box, terminal: Terminal) -> None:
    """It names the experiment, how long it waits at most, and what another one would do.

    The experiment itself hears nothing of it.
    """
    key = begun(box)
    terminal.presses(CTRL_C)
    terminal.shows("draining", key, "600 s", "stops them")
    assert terminal.daemon.poll() is None
    (box.root / "go").touch()
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
    assert box.output(key) == "begun\ndone\n"
    assert terminal.daemon.wait(PATIENCE) == 0


def test_a_second_ctrl_c_stops_and_gives_back(box: Box, terminal: Terminal) -> None:
    """It names what goes back to its queue, uncounted, and ends."""
    key = begun(box)
    terminal.presses(CTRL_C)
    terminal.shows("draining", key)
    terminal.presses(CTRL_C)
    terminal.shows("stopping", key)
    assert terminal.daemon.wait(PATIENCE) == 0
    record = box.claim(key)
    assert record is not None
    assert (record["state"], record["counted"]) == ("released", 0)
    assert len(box.waiting()) == 1


def test_ctrl_c_with_nothing_to_wait_for_ends_at_once(terminal: Terminal) -> None:
    """There is nothing to say."""
    terminal.shows("waiting for experiments")
    terminal.presses(CTRL_C)
    terminal.shows("draining")
    assert terminal.daemon.wait(PATIENCE) == 0
