"""The operator's programs around experiments: there, and nobody else's to change."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.app.hooks import programs
from runner.doctor.check import Finding, failed, ok, warning
from runner.lifecycle.hooks.program import Program
from runner.settings import Settings


def findings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell of each program whether it can be run; none is."""
    for program in programs(settings):
        yield _finding(program, environ)


def _finding(program: Program, environ: Mapping[str, str]) -> Finding:
    name = program.argv[0]
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    if found is None:
        what = "is there, and is not executable" if Path(name).is_file() else "is not there"
        consequence = (
            "every experiment goes back to its queue"
            if program.option == "--hook-before"
            else "nobody is told how experiments ended"
        )
        remedy = f"chmod +x {name}" if Path(name).is_file() else f"put it there, or correct {name}"
        return failed(f"the program of {program.option} {what}: {name}; {consequence}", remedy)
    place = Path(found).resolve()
    if mode := stat.S_IMODE(place.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        who = "everybody" if mode & stat.S_IWOTH else "its group"
        return warning(
            f"{who} may change {place}, which {program.option} runs as the daemon's user",
            f"chmod go-w {place}",
        )
    return ok(f"{program.option} runs {place}")
