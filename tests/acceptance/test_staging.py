"""The next experiment is fetched and built while the card is busy: the real daemon, one card."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, until
from tests.servers.nvml import Card, Nvml

pytestmark = pytest.mark.service("nvml")

RUNS = """
import os, pathlib, time
pathlib.Path({begun!r}).touch()
print('on', os.environ['CUDA_VISIBLE_DEVICES'])
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""


@pytest.fixture
def box(tmp_path: Path, nvml: Nvml) -> Iterator[Box]:
    """A machine of its own for every test, with one card."""
    nvml.cards = [Card("NVIDIA L4", "GPU-one")]
    with Box(tmp_path) as box:
        yield box


def submit(box: Box, name: str) -> str:
    """Queue an experiment that needs a card and ends when it is let."""
    script = RUNS.format(begun=str(box.root / f"{name}-begun"), go=str(box.root / f"{name}-go"))
    needs = {"cpus": 1, "ram": "256m", "hdd": "64m", "gpus": 1, "gpuMem": "1g"}
    return box.submit(script, key=name, resources_needed=needs)


def let(box: Box, name: str) -> None:
    """Let an experiment end."""
    (box.root / f"{name}-go").touch()


def begun(box: Box, name: str) -> None:
    """Wait until an experiment runs."""
    until(lambda: (box.root / f"{name}-begun").exists() or None, f"{name} runs", box.log)


def phases(box: Box) -> dict[str, str]:
    """Return what ``status`` says of each experiment."""
    command = [sys.executable, "-m", "runner", "status", "--json", "--state-dir", str(box.state)]
    asked = subprocess.run(
        command, capture_output=True, env=dict(box.environ()), timeout=PATIENCE, check=True
    )
    return {one["key"]: one["phase"] for one in json.loads(asked.stdout)["running"]}


def staged(box: Box, name: str) -> None:
    """Wait until an experiment is ready but for its card."""
    until(lambda: phases(box).get(name) == "waiting for a GPU" or None, f"{name} waits", box.log)


def test_the_next_one_is_ready_when_the_card_comes_back(box: Box, nvml: Nvml) -> None:
    """One at a time; the one after it is not even claimed."""
    submit(box, "first")
    box.start(variables=nvml.variables)
    begun(box, "first")
    submit(box, "second")
    staged(box, "second")
    submit(box, "third")
    assert box.claim("third") is None
    let(box, "first")
    begun(box, "second")
    staged(box, "third")
    let(box, "second")
    let(box, "third")
    for name in ("first", "second", "third"):
        assert box.outcome(name)["cause"] == "completed"
        assert "on GPU-one" in box.output(name)
    box.wait_until_clean()
    assert box.complaints() == []


def test_a_drain_gives_the_staged_one_back_at_once(box: Box, nvml: Nvml) -> None:
    """What runs goes on meanwhile, to its end."""
    submit(box, "first")
    daemon = box.start(variables=nvml.variables)
    begun(box, "first")
    submit(box, "second")
    staged(box, "second")
    daemon.terminate()
    until(lambda: len(box.waiting()) == 1 or None, "the message is back", box.log)
    claim = box.claim("second")
    assert claim is not None
    assert (claim["state"], claim["counted"]) == ("released", 0)
    let(box, "first")
    assert daemon.wait(PATIENCE) == 0
    assert box.outcome("first")["cause"] == "completed"
    assert box.complaints() == []


def test_a_killed_daemon_loses_no_staged_one(box: Box, nvml: Nvml) -> None:
    """The next daemon keeps the card for what runs, and makes the other one ready again."""
    submit(box, "first")
    daemon = box.start(variables=nvml.variables)
    begun(box, "first")
    submit(box, "second")
    staged(box, "second")
    box.kill(daemon)
    box.start(variables=nvml.variables)
    staged(box, "second")
    assert phases(box)["first"] == "running"
    assert not (box.root / "second-begun").exists()
    let(box, "first")
    let(box, "second")
    for name in ("first", "second"):
        assert box.outcome(name) == {
            "cause": "completed",
            "exit_code": 0,
            "detail": "",
            "attempt": 1 if name == "first" else 2,
        }
    box.wait_until_clean()
    assert box.complaints() == []


def test_a_card_that_is_lost_while_it_is_waited_for_is_waited_for_again(
    box: Box, nvml: Nvml
) -> None:
    """Whoever is ready does not begin on it, goes back to no queue, and loses no attempt."""
    submit(box, "first")
    box.start("--gpu-look", "50ms", variables=nvml.variables)
    begun(box, "first")
    submit(box, "second")
    staged(box, "second")
    nvml.lose("GPU-one")
    let(box, "first")
    let(box, "second")
    box.outcome("first")
    assert phases(box)["second"] == "waiting for a GPU"
    assert not (box.root / "second-begun").exists()
    nvml.mend()
    outcome = box.outcome("second")
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
    assert "on GPU-one" in box.output("second")
    assert box.complaints() == []
