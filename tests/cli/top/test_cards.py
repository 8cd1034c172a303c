"""The cards in ``studio-runner top``, as a daemon tells them that asks their driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until
from tests.cli.top.window import Window
from tests.servers.nvml import Card, Nvml

_TOP = (sys.executable, "-m", "runner", "top", "--interval", "0.3s")
_GIB = 1 << 30


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.mark.service("nvml")
def test_each_card_says_who_holds_it_or_why_nobody_does(box: Box, nvml: Nvml) -> None:
    """Of four cards one is held, one is sick, two are free; a run is told by its card's number."""
    nvml.cards = [
        Card("Tesla T4", "GPU-a", remapping=True, temperature=90),
        Card("NVIDIA L4", "GPU-b", utilization=3),
        Card("NVIDIA A100-SXM4-80GB", "GPU-c"),
        Card("NVIDIA L4", "GPU-d"),
    ]
    box.start("--gpu-probe", "nvml", variables=nvml.variables)
    needs = {"cpus": 1, "gpus": 1, "gpuMem": "60gb", "ram": "256m", "hdd": "64m"}
    box.submit("import time\ntime.sleep(600)", key="holder", resources_needed=needs)
    command = [*_TOP, "--state-dir", str(box.state)]
    with Window(command, box.environ(), columns=100, lines=30) as window:
        window.shows("> holder", "running", " 2 ")
        nvml.change("GPU-c", utilization=97, temperature=71, power=250_400, used=64 * _GIB)
        window.shows("2", "NVIDIA A100", "97%", "64G/80G", "71C", "250W", "holder")
        sick = window.shows("0", "Tesla T4", "0%", "90C", "not given out: a bad part of its memory")
        assert "holder" not in sick
        window.shows("1", "NVIDIA L4", "3%", "free")
        window.shows("3", "NVIDIA L4", "0%", "40C", "60W", "free")
        window.shows("GPU [", "2/4")
        window.resize(40, 24)
        window.shows("0", "not given out")
        window.shows("2", "holder")
        nvml.lose("GPU-d")
        window.shows("3", "not given out")
        window.press("cy")
        until(lambda: box.settled() or None, "it is cancelled", box.log)
        nvml.change("GPU-c", used=0)
        window.shows("2 ", "free")
        window.press("q")
        assert window.ends() == 0
