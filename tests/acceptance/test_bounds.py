"""A whole daemon keeps experiments to what they asked for, and tells their owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box

HOG = """
import os, sys
held = []
if os.fork() == 0:
    while True:
        held.append(bytearray(4_000_000))
os.wait()
sys.exit(1)
"""
HOWS = [pytest.param("cgroup", marks=pytest.mark.service("cgroups")), "measure"]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine in a directory."""
    with Box(tmp_path) as found:
        yield found


@pytest.mark.parametrize("how", HOWS)
def test_an_experiment_above_its_memory_is_told_so(box: Box, how: str) -> None:
    """Cause, amount and remedy stand in its output and in the books; its neighbour ends well."""
    box.start("--enforce", how)
    needs = {"cpus": 1, "gpus": 0, "ram": "200mb", "hdd": "64m"}
    hog = box.submit(HOG, resources_needed=needs)
    quiet = box.submit("print('well')", resources_needed=needs)
    outcome = box.outcome(hog)
    assert outcome["cause"] == "out-of-memory"
    assert "the 200 MB of memory that it asked for" in outcome["detail"]
    output = box.output(hog)
    assert "the 200 MB of memory that it asked for" in output
    assert "resources_needed.ram" in output
    assert box.outcome(quiet)["cause"] == "completed"
    assert "of experiments are" in box.log()
