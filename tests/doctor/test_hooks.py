"""The doctor looks at the operator's programs without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.doctor import hooks
from runner.doctor.check import Verdict
from runner.errors import Misconfigured
from runner.settings import Settings


def looked_at(*words: str) -> list[tuple[Verdict, str]]:
    """Return what is said of a daemon with these options."""
    settings = Settings.load(list(words), {"HOME": "/nowhere"})
    found = hooks.findings(settings, {"PATH": "/usr/bin:/bin"})
    return [(one.verdict, f"{one.sentence} {one.remedy}") for one in found]


def test_a_program_is_there_executable_and_nobody_elses(tmp_path: Path) -> None:
    """What keeps it from being run is an error, what lets others change it a warning."""
    hook = tmp_path / "hook"
    words = ("--hook-before", f"{hook} --strict")
    ((verdict, said),) = looked_at(*words)
    assert (verdict, "is not there" in said) == (Verdict.FAILED, True)
    assert "every experiment goes back to its queue" in said
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o644)
    ((verdict, said),) = looked_at(*words)
    assert (verdict, f"chmod +x {hook}" in said) == (Verdict.FAILED, True)
    hook.chmod(0o777)
    ((verdict, said),) = looked_at(*words)
    assert (verdict, "everybody may change" in said) == (Verdict.WARNING, True)
    hook.chmod(0o755)
    assert looked_at(*words) == [(Verdict.OK, f"--hook-before runs {hook} ")]


def test_both_programs_are_looked_at_and_none_where_none_is_named() -> None:
    """One that is found on the path may be named without it."""
    found = looked_at("--hook-before", "true", "--hook-after", "no-such-program")
    assert [verdict for verdict, _ in found] == [Verdict.OK, Verdict.FAILED]
    assert "nobody is told how experiments ended" in found[1][1]
    assert looked_at() == []


@pytest.mark.parametrize("text", ["'/half quoted", "''"])
def test_a_command_line_that_is_none_stops_the_start(text: str) -> None:
    """With one sentence that names the option."""
    with pytest.raises(Misconfigured, match=r"--hook-after is .*give a command such as"):
        looked_at("--hook-after", text)
