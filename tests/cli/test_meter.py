"""Transfers show a bar on a terminal, and a line now and then in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from runner.cli.meter import Meter


class Clock:
    """A clock that goes on by itself."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        """Tell the time."""
        self.now += self.step
        return self.now


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_pipe_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Not one for every piece, and none for what is over at once."""
    with Meter("uploading", Clock(1.0)) as meter:
        meter.expect(12 << 20)
        for _ in range(12):
            meter.add(1 << 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert len(lines) < 6
    assert lines[0].startswith("uploading: ")
    assert lines[0].endswith(" MiB of 12.0 MiB")
    with Meter("uploading", Clock(0.001)) as meter:
        meter.add(1)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what and how much, and is gone at the end; what is over at once shows none."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Meter("uploading", Clock(1.0)) as meter:
        meter.show(3 << 20, 12 << 20)
    shown = terminal.getvalue()
    assert "uploading" in shown
    assert "/12.0 MiB" in shown
    assert shown.endswith("\x1b[2K")
    terminal.truncate(0)
    with Meter("uploading", Clock(0.001)) as meter:
        meter.show(1, 2)
    assert "uploading" not in terminal.getvalue()
