"""What ``studio-runner top`` does to a terminal, and what terminals do to it."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until
from tests.cli.top.told import Item, told
from tests.cli.top.window import Window

_TOP = (sys.executable, "-m", "runner", "top", "--interval", "0.3s")
_LOCAL = 3


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.fixture
def shell(box: Box) -> Iterator[Window]:
    """A shell with job control, in a terminal of its own."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    environ = {**box.environ(), "PS1": "shell> ", "LC_ALL": "C.UTF-8"}
    with Window([bash, "--norc", "--noprofile", "-i"], environ) as window:
        window.shows("shell>")
        yield window
        window.press("exit\n")
        assert window.ends() == 0


def _command(box: Box) -> list[str]:
    return [*_TOP, "--state-dir", str(box.state)]


def _top(
    box: Box, environ: Mapping[str, str] | None = None, *, columns: int = 80, lines: int = 24
) -> Window:
    variables = {**box.environ(), **(environ or {})}
    return Window(_command(box), variables, columns=columns, lines=lines)


def _runs(*keys: str) -> Item:
    daemon = {"pid": 1, "version": "1", "host": "here"}
    return {"daemon": daemon, "running": [{"key": key, "run": f"run-{key}"} for key in keys]}


def test_what_stands_there_is_not_sent_again(box: Box) -> None:
    """The clock goes on alone; Ctrl-L draws all of it, as after somebody else's message."""
    with told(box.state, _runs("akey")), _top(box) as window:
        window.shows("> akey")
        for _ in range(3):
            clock = window.rows[0]
            until(lambda: window.rows[0] != clock or None, "the clock going on")  # noqa: B023
        assert window.sent.count(b"akey") == 1
        window.press("\x0c")
        until(lambda: (window.rows and window.sent.count(b"akey") == 2) or None, "the run again")
        window.press("q")
        assert window.ends() == 0


def test_where_no_shell_is_left_ctrl_z_stops_nothing(box: Box) -> None:
    """As behind ``ssh -t HOST studio-runner top``: nobody could ever have it go on."""
    with _top(box) as window:
        window.shows("? help")
        window.press("\x1a")
        until(lambda: window.sent.count(b"\x1b[?1049h") > 1 or window.rows[:0], "taken again")
        window.press("?")
        window.shows("live output of the selected run")
        window.press("q")
        assert window.ends() == 0
        assert window.is_given_back


def test_who_was_in_the_background_leaves_a_sane_terminal(box: Box, shell: Window) -> None:
    """The shell reads its own line in other modes; those are not taken for the terminal's."""
    shell.press(f"{shlex.join(_command(box))} &\n\n")
    until(lambda: _of_jobs(shell), "it waits to be in front", lambda: shell.text)
    shell.press("fg\n")
    shell.shows("? help")
    shell.press("q")
    until(lambda: shell.is_left or None, "the shell's screen", lambda: shell.text)
    shell.press("clear; stty -a | tr ' ' '\\n' | grep -xE -- '-?(icanon|echo);?'; echo do''ne\n")
    shell.shows("done")
    assert {"icanon", "echo"} <= {row.strip() for row in shell.rows}, shell.text


def _of_jobs(shell: Window) -> bool | None:
    shell.press("clear; jobs\n")
    return "Stopped" in shell.text or None


def test_a_stop_from_outside_is_mended(box: Box) -> None:
    """Whoever had the terminal meanwhile, it is taken and drawn again."""
    with _top(box) as window:
        window.shows("? help")
        window.process.send_signal(signal.SIGSTOP)
        window.reset()
        window.process.send_signal(signal.SIGCONT)
        window.shows("? help")
        assert not window.modes[_LOCAL] & (termios.ECHO | termios.ICANON)
        window.press("q")
        assert window.ends() == 0


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": ""}, {"TTY_COMPATIBLE": "0"}])
def test_a_terminal_is_one_whatever_variables_say(box: Box, variables: Mapping[str, str]) -> None:
    """They are about colours in pipes."""
    with _top(box, variables) as window:
        window.shows("no daemon listens")
        window.press("q")
        assert window.ends() == 0


def test_without_utf_8_lines_keep_their_width(box: Box) -> None:
    """What cannot be shown is narrower than it would be, and leaves nothing of before behind."""
    found = {**_runs(), "recent": [{"key": "old", "cause": "exit", "detail": "z" * 99}]}
    with told(box.state, found), _top(box, {"PYTHONIOENCODING": "latin-1"}, columns=60) as window:
        window.shows("old", "zzz")
        found["recent"] = [{"key": "漢字漢字", "cause": "exit", "detail": ""}]
        window.shows("????", "exit")
        assert "z" not in window.text
        window.press("q")
        assert window.ends() == 0


def test_in_a_small_terminal_one_knows_what_one_says_yes_to(box: Box) -> None:
    """40 columns and 10 lines: whatever acts asks before, visibly; the help can be read."""
    found = _runs("a-key-of-some-length")
    with told(box.state, found) as asked, _top(box, columns=40, lines=10) as window:
        window.shows("> a-key-of-some")
        for key in "cdsr":
            window.press(key)
            assert window.shows("[y/n]") == window.rows[9]
            window.press("n")
            window.shows("not done")
        assert asked == []
        window.press("sy")
        window.shows("resumed")
        assert len(asked) == 1
        window.press("?")
        window.shows("drain: finish what runs, and")
        window.press("G")
        window.shows("list of GPUs.")
        window.press("?")
        window.shows("> a-key-of-some")
        window.press("q")
        assert window.ends() == 0


@pytest.mark.parametrize("end", ["kill", "detach", "reload"])
def test_an_output_is_followed_over_the_daemons_end(box: Box, end: str) -> None:
    """The next daemon adopts the run, and its output goes on where it is looked at."""
    go = box.root / "go"
    script = (
        "import pathlib, time\nprint('begun', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"
        "print('gone on', flush=True)\ntime.sleep(600)\n"
    )
    daemon = box.start()
    box.submit(script, key="first")
    with _top(box) as window:
        window.shows("> first", "running")
        window.press("\r")
        window.shows("begun")
        if end == "kill":
            box.kill(daemon)
        else:
            command = [*_TOP[:3], end, "--state-dir", str(box.state)]
            subprocess.run(command, env=dict(box.environ()), check=True, capture_output=True)
        if end != "reload":
            window.shows("no daemon listens")
            daemon.wait()
            box.start()
        window.shows("first: live")
        window.shows("taking experiments")
        go.touch()
        window.shows("gone on")
        window.press("q")
        assert window.ends() == 0
    assert box.complaints() == []
