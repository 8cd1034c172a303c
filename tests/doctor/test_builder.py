"""The environment builder and the tools it needs, tried for real."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from runner.doctor import environments, tools
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic
from tests.environments import packages

pytestmark = pytest.mark.anyio


async def test_an_environment_is_built_and_a_package_resolved(clinic: Clinic) -> None:
    """In a directory of the doctor's own: the daemon's is not even made."""
    shelf, index = clinic.root / "shelf", clinic.root / "index" / "iniconfig"
    packages.wheel(shelf, "iniconfig", "1.0")
    index.mkdir(parents=True)
    (index / "index.html").write_text("<html></html>")
    argv = ("--find-links", str(shelf), "--index-url", index.parent.as_uri())
    found = await clinic.look(environments.look, await clinic.patient(*argv))
    built = found.about("a tiny environment")
    assert built.verdict is Verdict.OK, built
    assert "started" in built.sentence
    assert found.about("the package index").verdict is Verdict.OK, found
    assert not (clinic.root / "state").exists()


async def test_an_index_that_is_named_and_has_nothing_fails(clinic: Clinic) -> None:
    """With the installer's own last words, and the options that help."""
    (clinic.root / "empty").mkdir()
    argv = ("--index-url", (clinic.root / "empty").as_uri())
    found = await clinic.look(environments.look, await clinic.patient(*argv))
    told = found.about("the package index")
    assert told.verdict is Verdict.FAILED
    assert "iniconfig" in told.sentence
    assert "--no-index" in told.remedy


async def test_a_python_that_is_not_here_fails(clinic: Clinic) -> None:
    """With what there is instead; and without an index none is asked."""
    patient = await clinic.patient("--no-index", "--default-python", "3.99")
    found = await clinic.look(environments.look, patient)
    assert found.about("the package index").verdict is Verdict.SKIPPED
    told = found.about("a tiny environment")
    assert told.verdict is Verdict.FAILED
    assert "3.99" in told.sentence
    assert "--default-python" in told.remedy


async def test_without_a_compiler_packages_in_source_are_out(clinic: Clinic) -> None:
    """A warning: wheels do without. The interpreters are found wherever they are."""
    empty = clinic.root / "bin"
    empty.mkdir()
    found = await clinic.look(partial(tools.look, path=str(empty)), await clinic.patient())
    for name in ("gcc", "g++", "git"):
        assert found.about(name).verdict is Verdict.WARNING
        assert "install" in found.about(name).remedy
    assert found.about("interpreters").verdict is Verdict.OK


async def test_a_compiler_that_cannot_compile_is_told_from_one_that_can(clinic: Clinic) -> None:
    """As where the headers of the C library are missing: being there is not enough."""
    place = clinic.root / "bin"
    _program(place / "gcc", "echo 'stdio.h: No such file or directory' >&2; exit 1")
    _program(place / "g++", "exit 0")
    found = await clinic.look(partial(tools.look, path=str(place)), await clinic.patient())
    assert found.about("gcc").verdict is Verdict.WARNING
    assert "stdio.h" in found.about("gcc").sentence
    assert found.about("g++").verdict is Verdict.OK


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    assert os.access(path, os.X_OK)
