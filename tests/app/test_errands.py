"""What is run for images leaves nothing behind, however hostile it is, and no daemon stumbles."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from runner.app.errands import RunErrands
from runner.errors import HostFault
from runner.images.base import Errand
from runner.sandboxes.plain import PlainSandbox

pytestmark = pytest.mark.anyio

#: Deeper than Python's stack, and closed to its owner.
DEEP = """
import os
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
os.mkdir("closed")
os.mkdir("closed/inner")
os.chmod("closed", 0)
print("made")
"""


@pytest.fixture
def errands(tmp_path: Path) -> RunErrands:
    """In a directory of their own."""
    made = RunErrands(tmp_path / "errands", PlainSandbox(), None, None)
    made.open()
    return made


def errand(code: str) -> Errand:
    """Return some lines of Python to be run where they may write."""
    words = (sys.executable, "-I", "-S", "-c", code)
    return Errand(words, f"errand-{secrets.token_hex(4)}", timedelta(minutes=1))


async def test_a_hostile_tree_is_removed(errands: RunErrands) -> None:
    """As of a run's workspace: neither its depth nor its modes matter."""
    ended = await errands.run(errand(DEEP))
    assert (ended.code, ended.text) == (0, "made\n")
    assert list(errands.root.iterdir()) == []


async def test_what_a_dead_daemon_left_keeps_no_daemon_from_starting(errands: RunErrands) -> None:
    """It could be as deep."""
    place = errands.root / "left"
    place.mkdir()
    here = os.open(place, os.O_RDONLY)
    try:
        for _ in range(3000):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    errands.open()
    assert list(errands.root.iterdir()) == []


async def test_a_machine_that_gives_no_place_is_to_blame(errands: RunErrands) -> None:
    """Not the runner, and not the image: another machine may do it."""
    errands.root.rmdir()
    with pytest.raises(HostFault, match="errands"):
        await errands.run(errand("print('never')"))
