"""Lines for people: every finding on its own, with a word beside each symbol."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from runner.cli.doctor_lines import Lines
from runner.doctor.check import Area, Check, Verdict

CHECKS = [
    Check("queues", Area.QUEUES, Verdict.OK, "it answers", "never shown", "sqs lab", 0.25),
    Check("disk", Area.HOST, Verdict.WARNING, "it is slow", "buy another"),
    Check("clock", Area.HOST, Verdict.FAILED, "it is\nwrong", "set it"),
    Check("gpu", Area.GPU, Verdict.SKIPPED, "there is none"),
]


class File(io.StringIO):
    """A file that says in which encoding it is written."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # writable in the base
        """Say it."""
        return self._encoding


def printed(*, encoding: str = "utf-8", terminal: bool = False) -> str:
    """Return what is printed about the checks."""
    file = File(encoding)
    lines = Lines(Console(file=file, force_terminal=terminal, width=30, highlight=False))
    for check in CHECKS:
        lines.told(check)
    lines.sum_up()
    return file.getvalue()


def test_each_finding_is_a_line_and_a_remedy_another() -> None:
    """No line is broken by the width, none by a line end in what was found."""
    text = printed().splitlines()
    assert text[0] == "✓ ok       queues        sqs lab: it answers (0.2 s)"
    assert text[1] == "! warning  disk          it is slow"
    assert text[2].strip() == "mend it: buy another"
    assert text[3] == "✗ FAILED   clock         it is\\nwrong"
    assert text[5] == "- skipped  gpu           there is none"
    assert text[-1].startswith("1 ok, 1 warning, 1 FAILED, 1 skipped in ")
    assert text[-1].endswith("exit status 16")


def test_a_terminal_of_few_characters_gets_them() -> None:
    """The words are the same."""
    text = printed(encoding="ascii")
    assert text.isascii()
    assert "x FAILED" in text
    assert "+ ok" in text


def test_colour_is_never_all_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``NO_COLOR`` a terminal gets none, and the same words."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    plain = printed(terminal=True)
    assert "\x1b[36m" not in plain
    assert "FAILED" in plain
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[36m" in printed(terminal=True)
