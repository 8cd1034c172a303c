"""What is shipped is what was tested: the locks of the image and the single file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    """Return what a lock file pins: name to version."""
    text = (ROOT / "requirements" / name).read_text()
    return {
        canonicalize_name(found[1]): found[2]
        for found in re.finditer(r"(?m)^([A-Za-z0-9._-]+)==(\S+)", text)
    }


@pytest.mark.parametrize("name", ["all.txt", "build.txt"])
def test_what_is_shipped_was_tested(name: str) -> None:
    """Each version is the one that the tests run with; else ``make lock``."""
    assert pins(name).items() <= pins("dev.txt").items()


def test_the_image_has_every_backend() -> None:
    """All that a daemon may use is locked, and nothing that only the tests want.

    A daemon draws no pictures. Else ``make lock``.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (named,) = extras.pop("all")
    assert Requirement(named).extras == extras.keys() - {"plot"}
    wanted = [*project["dependencies"]]
    for extra in Requirement(named).extras:
        wanted += extras[extra]
    names = {canonicalize_name(Requirement(line).name) for line in wanted}
    assert names <= pins("all.txt").keys()
    assert pins("all.txt").keys().isdisjoint({"pytest", "matplotlib"})
