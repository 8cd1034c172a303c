"""The lines of ``_metrics`` have the figures of the cards that an experiment was given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from runner.control.client import ask
from tests.acceptance.box import PATIENCE, Box, until
from tests.servers.nvml import MIB, Card, Nvml

pytestmark = [pytest.mark.anyio, pytest.mark.service("nvml")]

_SCRIPT = """
import os, pathlib, time
print("begun", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.05)
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


async def used(box: Box, uuid: str) -> int:
    """Return how much of a card's memory the daemon knows to be in use."""
    (status,) = [item async for item in ask(box.state / "control.sock", "status")]
    return int(next(card["used"] for card in status["daemon"]["gpus"] if card["uuid"] == uuid))


async def test_a_line_has_the_figures_of_the_runs_own_card(box: Box, nvml: Nvml) -> None:
    """As the driver tells them while it runs, by the driver's number, and of no other card."""
    nvml.cards = [Card(), Card()]
    box.start("--gpu-look", "50ms", variables=nvml.variables)
    needs = {"cpus": 1, "gpus": 1, "gpuCount": 1, "ram": "256m", "hdd": "64m"}
    script = _SCRIPT.format(go=str(box.root / "go"))
    key = box.submit(script, resources_needed=needs)
    until(lambda: "begun" in box.live_output() or None, "a run", box.log)
    own = box.live_output().split()[1]
    number = [card.uuid for card in nvml.cards].index(own)
    nvml.change(own, used=512 * MIB, utilization=80)
    with anyio.fail_after(PATIENCE):
        # Another process tells it when it is asked.
        while await used(box, own) != 512 * MIB:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    (box.root / "go").touch()
    assert box.outcome(key)["cause"] == "completed"
    *_, last = box.stored(key, "_metrics").decode().splitlines()
    assert last.endswith(f" gpu {number} util: 80 %, mem {512 * MIB} ")
    assert last.count("gpu ") == 1
