"""What builds of packages need of this machine: interpreters, compilers, git."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runner.doctor.check import Finding, failed, ok, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient
from runner.environments.installer import PATH
from runner.environments.interpreters import OLDEST, Interpreter, Interpreters

_PATIENCE = 20.0
_SOURCES = "packages that come as source, without a wheel, cannot be built"
_INSTALL = "apt-get install build-essential python3-dev (dnf install gcc gcc-c++ python3-devel)"
#: Includes what a distribution may leave out: the headers of the C library.
_PROGRAMS = {
    "gcc": ("c", b'#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'),
    "g++": ("c++", b'#include <string>\nint main() { return std::string("").size(); }\n'),
}


async def look(patient: Patient, tell: Tell, *, path: str = PATH) -> None:
    """Look on ``path``, which is the one that builds have, whatever the daemon's own is."""
    await tell_all(lambda: _findings(patient, path), tell)


def _findings(patient: Patient, path: str) -> Iterator[Finding]:
    yield _interpreters(patient)
    for name in _PROGRAMS:
        yield _compiler(name, path)
    yield _git(path)


def _interpreters(patient: Patient) -> Finding:
    with tempfile.TemporaryDirectory() as directory:
        memory = Path(directory) / "interpreters.json"
        downloads = patient.places.environments / "pythons"
        found = Interpreters(memory, patient.identity, downloads).find()
    usable = [one for one in found if one.numbers >= OLDEST]
    if not usable:
        return failed(
            "no Python that experiments could run with",
            "install one that they can read: apt-get install python3 (dnf install python3)",
            "interpreters",
        )
    return ok(", ".join(_newest(usable)), "interpreters")


def _newest(found: list[Interpreter]) -> list[str]:
    """Return one line for each minor version, newest first."""
    best: dict[str, Interpreter] = {}
    for one in sorted(found, key=lambda one: one.numbers):
        best[one.short] = one
    return [f"{one.version} ({one.path})" for one in reversed(best.values())]


def _compiler(name: str, path: str) -> Finding:
    program = shutil.which(name, path=path)
    if program is None:
        return warning(f"there is no {name} on {path}: {_SOURCES}", _INSTALL, name)
    language, source = _PROGRAMS[name]
    try:
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run(
                [program, "-x", language, "-", "-o", f"{directory}/program"],
                input=source,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
                env={"PATH": path, "TMPDIR": directory, "LANG": "C.UTF-8"},
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return warning(f"{program} does not run: {error}; {_SOURCES}", _INSTALL, name)
    if done.returncode != 0:
        said = next(iter(done.stderr.decode(errors="replace").splitlines()), "it says nothing")
        return warning(f"{program} compiles nothing: {said}; {_SOURCES}", _INSTALL, name)
    return ok(f"{program} compiles", name)


def _git(path: str) -> Finding:
    program = shutil.which("git", path=path)
    if program is None:
        return warning(
            f"there is no git on {path}: requirements such as git+https://… cannot be installed",
            "apt-get install git (dnf install git)",
            "git",
        )
    return ok(program, "git")
