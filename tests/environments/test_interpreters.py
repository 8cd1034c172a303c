"""Interpreters are found, asked once, and chosen by the beginning of their version."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.environments.interpreters import Interpreter, Interpreters, choose
from runner.environments.programs import Programs
from runner.errors import BadField, PythonMissing


def one(version: str) -> Interpreter:
    """Return an interpreter of this version."""
    return Interpreter(
        Path(f"/opt/{version}/bin/python"), version, "cpython", "linux-x86_64", "", "glibc 2.36"
    )


HERE = [one("3.7.9"), one("3.10.13"), one("3.11.2"), one("3.11.7"), one("3.12.1")]


@pytest.mark.parametrize(
    ("wanted", "default", "chosen"),
    [
        ("3.11", "3.12", "3.11.7"),
        ("3.11.2", "3.12", "3.11.2"),
        ("3", "3.11", "3.11.7"),
        ("3", "3.9", "3.12.1"),
        ("", "3.10.13", "3.10.13"),
        ("", "", "3.12.1"),
    ],
)
def test_the_newest_that_fits_is_chosen(wanted: str, default: str, chosen: str) -> None:
    """The default wins among those that fit."""
    assert choose(wanted, HERE, default).version == chosen


@pytest.mark.parametrize("wanted", ["3.13", "3.11.9", "3.100"])
def test_what_is_missing_is_said_with_what_there_is(wanted: str) -> None:
    """Those that are too old are not offered."""
    with pytest.raises(PythonMissing, match=r"there is: 3\.10\.13, 3\.11\.2, 3\.11\.7, 3\.12\.1$"):
        choose(wanted, HERE, "3.11")


@pytest.mark.parametrize(("wanted", "why"), [("2", "port"), ("2.7", "port"), ("3.7", "too old")])
def test_old_versions_are_refused(wanted: str, why: str) -> None:
    """Even where they are installed."""
    with pytest.raises(PythonMissing, match=why):
        choose(wanted, HERE, "3.11")


@pytest.mark.parametrize("wanted", ["python3", "3.x", "3.11.7.1", "$(id)", "-m"])
def test_what_is_no_version_is_refused(wanted: str) -> None:
    """The field is named."""
    with pytest.raises(BadField, match=r"experiment\.pythonver"):
        choose(wanted, HERE, "3.11")


def test_shims_and_virtual_environments_are_no_interpreters(tmp_path: Path) -> None:
    """Scripts and copies in virtual environments are passed over, links lead to the real one."""
    shims, venv, linked = (tmp_path / name / "bin" for name in ("shims", "venv", "linked"))
    for folder in (shims, venv, linked):
        folder.mkdir(parents=True)
    (shims / "python3").write_text("#!/bin/sh\n")
    (shims / "python3").chmod(0o755)
    real = Path(sys.executable).resolve()
    shutil.copy(real, venv / "python3")
    (venv.parent / "pyvenv.cfg").write_text("")
    (linked / "python3").symlink_to(real)
    path = os.pathsep.join(str(folder) for folder in (shims, venv, linked))
    found = Programs(tmp_path / "downloads").find({"PATH": path}, tmp_path)
    assert real in found
    assert not [place for place in found if place.is_relative_to(tmp_path)]


def test_pyenv_conda_and_downloads_are_looked_at(tmp_path: Path) -> None:
    """Also when none of them is in ``PATH``."""
    places = [
        ".pyenv/versions/3.11.0/bin",
        "miniconda3/envs/ml/bin",
        ".local/share/uv/python/cpython-3.12/bin",
        "downloads/cpython-3.13/bin",
    ]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "python3").write_bytes(b"\x7fELF")
    found = Programs(tmp_path / "downloads").find({}, tmp_path)
    ours = [str(path.relative_to(tmp_path)) for path in found if path.is_relative_to(tmp_path)]
    assert ours == [
        f"{places[0]}/python3",
        *(f"{place}/python3" for place in places[2:0:-1]),
        f"{places[3]}/python3",
    ]


def test_what_changes_is_found_by_the_next_look(tmp_path: Path) -> None:
    """A directory that did not change is not read again, and one that did is; so is a dead link."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "python3.11").write_bytes(b"\x7fELF")
    (here / "python3").symlink_to(there / "python3.11")
    for folder in (here, there):
        os.utime(folder, (1, 1))  # long ago, so that the next look need not doubt the stamp
    programs, places = Programs(tmp_path / "downloads"), {"PATH": str(here)}

    def found() -> set[str]:
        paths = programs.find(places, tmp_path)
        return {str(path.relative_to(tmp_path)) for path in paths if tmp_path in path.parents}

    assert found() == {"here/python3.11", "there/python3.11"}
    (here / "python3.11").write_text("#!/bin/sh")  # the directory has the same stamp as before
    assert found() == {"here/python3.11", "there/python3.11"}
    (there / "python3.11").unlink()
    assert found() == set()
    (here / "python3.12").write_bytes(b"\x7fELF")
    assert found() == {"here/python3.12"}
    (here / "python3.13").write_bytes(b"\x7fELF")  # within the same moment
    assert found() == {"here/python3.12", "here/python3.13"}


def test_one_that_is_named_is_asked_once(tmp_path: Path) -> None:
    """Until another program lies there."""
    program, log = tmp_path / "python3", tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho asked >> "{log}"\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    interpreters = Interpreters(tmp_path / "memory.json", None, tmp_path)
    first = interpreters.ask(program)
    assert first is not None
    assert interpreters.ask(program) == first
    assert log.read_text() == "asked\n"
    os.utime(program, (1, 1))
    assert interpreters.ask(program) == first
    assert log.read_text() == "asked\nasked\n"


def test_every_interpreter_is_asked_once(tmp_path: Path) -> None:
    """The answers are kept in a file, by path, size and time."""
    memory = tmp_path / "memory.json"
    first = Interpreters(memory, None, tmp_path)
    found = first.find()
    assert {one.implementation for one in found} == {"cpython"}
    answers = json.loads(memory.read_text())
    marked = {
        stamp: answer and {**answer, "libc": "remembered"} for stamp, answer in answers.items()
    }
    memory.write_text(json.dumps(marked))
    assert {one.libc for one in Interpreters(memory, None, tmp_path).find()} == {"remembered"}
    memory.write_text("not JSON")
    assert first.find() == found


class Counted(Interpreters):
    """Notes whom it asks."""

    def __init__(self, memory: Path, downloads: Path) -> None:
        super().__init__(memory, None, downloads)
        self.asked: list[Path] = []

    def ask(self, path: Path) -> Interpreter | None:
        """Note, and ask."""
        self.asked.append(path)
        return super().ask(path)


def test_many_look_at_the_same_time(tmp_path: Path) -> None:
    """First experiments start side by side; each interpreter is asked once all the same."""
    interpreters = Counted(tmp_path / "memory.json", tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: interpreters.find(), range(8)))
    assert all(one == found[0] for one in found)
    assert len(interpreters.asked) == len(set(interpreters.asked)) > 0


def test_what_does_not_run_is_no_interpreter(tmp_path: Path) -> None:
    """Whatever it is, it is left out."""
    (tmp_path / "python3").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "python3").chmod(0o755)
    assert Interpreters(tmp_path / "memory.json", None, tmp_path).ask(tmp_path / "python3") is None
