"""``studio-runner top`` in a real terminal: what is seen, what keys do, and how it is left."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until
from tests.cli.top.window import Window

_TOP = (sys.executable, "-m", "runner", "top", "--interval", "0.3s")
#: Sets the window's title, and clears the screen.
_HOSTILE = "\x1b]0;owned\x07\x1b[2J"
_SCRIPT = f"""
import pathlib, sys, time
print({_HOSTILE!r} + 'begun', flush=True)
while not pathlib.Path({{go!r}}).exists():
    time.sleep(0.01)
print('gone on', flush=True)
time.sleep(600)
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def _top(box: Box, *more: str, environ: Mapping[str, str] | None = None) -> Window:
    command = [*_TOP, "--state-dir", str(box.state), *more]
    return Window(command, {**box.environ(), **(environ or {})})


def test_a_person_looks_after_a_machine(box: Box) -> None:
    """Runs are selected, looked into and cancelled, claiming is suspended, the daemon drained.

    The view stays open while one daemon goes and the next one comes. What experiments print and
    are called draws nothing.
    """
    go = box.root / "go"
    daemon = box.start()
    script = _SCRIPT.format(go=str(go))
    first = box.submit(script, key="first")
    with _top(box) as window:
        window.shows("> first", "acceptance local_test running", "/10m")
        window.shows("taking experiments")
        second = box.submit(script, key="second", project="evil\x1b[2Jname")
        window.shows(second, "evil", "running")
        window.press("j")
        window.shows("> second")
        window.press("\r")
        window.shows("second: live")
        window.shows("begun")
        go.touch()
        window.shows("gone on")
        window.press("\x1b")
        window.shows("> second")
        _cancelled_when_asked_twice(box, window)
        window.press("s")
        window.shows("suspend", "[y/n]")
        window.press("y")
        window.shows("suspended by the operator")
        window.press("ry")
        window.shows("taking experiments")
        window.press("kd")
        window.shows("drain", "1 under way", "[y/n]")
        window.press("y")
        window.shows("draining: nothing more is received")
        window.press("cy")
        assert daemon.wait() == 0
        window.shows("no daemon listens")
        window.shows(first, "cancelled")
        box.start()
        window.shows("taking experiments")
        window.press("q")
        assert window.ends() == 0
        assert window.is_given_back
    assert b"owned" not in window.sent
    assert b"\x1b[2J" not in window.sent
    assert box.complaints() == []


def _cancelled_when_asked_twice(box: Box, window: Window) -> None:
    window.press("c")
    window.shows("cancel second? [y/n]")
    window.press("n")
    window.shows("not done")
    assert [one["key"] for one in box.settled()] == []
    window.press("c")
    window.shows("cancel second? [y/n]")
    window.press("y")
    assert box.ended("second")["cause"] == "cancelled"
    window.shows("RUNNING 1")
    window.shows("second", "cancelled", "by the operator")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_gives_the_terminal_back(box: Box, number: str) -> None:
    """Screen, cursor and keys are as before; the status tells of the signal."""
    with _top(box) as window:
        window.shows("no daemon listens")
        assert not window.is_given_back
        window.process.send_signal(signal.Signals[number])
        assert window.ends() == 128 + signal.Signals[number]
        assert window.is_given_back


def test_a_defect_gives_the_terminal_back(box: Box) -> None:
    """Whatever goes wrong is told on the shell's own screen."""
    code = (
        "from runner.cli.top.terminal import Terminal\n"
        "with Terminal().taken():\n    raise ZeroDivisionError('a defect')\n"
    )
    with Window([sys.executable, "-c", code], box.environ()) as window:
        assert window.ends() == 1
        assert window.is_given_back
        assert window.sent.rfind(b"a defect") > window.sent.rfind(b"\x1b[?1049l")


def test_ctrl_z_goes_to_the_shell_and_fg_comes_back(box: Box) -> None:
    """The shell has its terminal while the view is stopped; afterwards the view draws again."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    environ = {**box.environ(), "PS1": "shell> ", "LC_ALL": "C.UTF-8"}
    with Window([bash, "--norc", "--noprofile", "-i"], environ) as window:
        window.shows("shell>")
        window.press(shlex.join([*_TOP, "--state-dir", str(box.state)]) + "\n")
        window.shows("? help")
        window.press("\x1a")
        until(lambda: b"Stopped" in window.text.encode() or None, "stopped", lambda: window.text)
        assert window.is_left
        window.press("echo back in the s''hell\n")
        window.shows("back in the shell")
        before = len(window.sent)
        window.press("fg\n")
        until(lambda: b"\x1b[?1049h" in _sent_since(window, before) or None, "back in the view")
        window.press("?")
        window.shows("live output of the selected run")
        window.press("qq")
        until(lambda: window.is_left or None, "the shell's screen", lambda: window.text)
        window.press("echo status $?\n")
        window.shows("status 0")
        window.press("exit\n")
        assert window.ends() == 0


def _sent_since(window: Window, before: int) -> bytes:
    _ = window.rows
    return window.sent[before:]


def test_a_window_may_change_its_size(box: Box) -> None:
    """It is drawn anew, and nothing stands outside."""
    with _top(box) as window:
        window.shows("? help", "q quit")
        window.resize(30, 6)
        window.hides("q quit")
        window.shows("no daemon listens")
        window.resize(120, 40)
        assert window.shows("? help", "q quit") == window.rows[39]
        window.press("q")
        assert window.ends() == 0


def test_without_colours_there_are_none(box: Box) -> None:
    """NO_COLOR leaves what is bold, and no colour."""
    with _top(box, environ={"NO_COLOR": "1"}) as window:
        window.shows("no daemon listens")
        window.press("q")
        assert window.ends() == 0
    assert b"\x1b[1m" in window.sent
    assert not any(b"%dm" % colour in window.sent for colour in (*range(30, 38), *range(90, 98)))


@pytest.mark.parametrize("how", ["dumb", "once"])
def test_it_prints_once_where_nothing_can_be_drawn(box: Box, how: str) -> None:
    """TERM=dumb and --once: everything, once, and the end; on a dumb terminal without sequences."""
    environ = {"TERM": "dumb"} if how == "dumb" else {}
    with _top(box, *(["--once"] if how == "once" else []), environ=environ) as window:
        assert window.ends() == 0
        window.shows("no daemon listens")
    assert b"\x1b[?" not in window.sent
    assert (b"\x1b" in window.sent) is (how == "once")


def test_a_pipe_gets_text(box: Box) -> None:
    """``studio-runner top | cat`` is plain text without an end of its lines."""
    (box.state).mkdir()
    done = subprocess.run(
        [*_TOP, "--state-dir", str(box.state)],
        env={**os.environ, **box.environ(), "TERM": "xterm", "COLUMNS": "100"},
        capture_output=True,
        check=True,
    )
    first = done.stdout.decode().splitlines()[0]
    assert first.startswith("studio-runner")
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""
