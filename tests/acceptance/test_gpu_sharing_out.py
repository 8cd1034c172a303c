"""A machine's cards between two daemons, and what an experiment sees of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, Json, until
from tests.servers.nvml import Card, Nvml

pytestmark = pytest.mark.service("nvml")

_SEES = """
import json, os, pathlib, time
names = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
print("SEEN", json.dumps([os.environ[name] for name in names]), flush=True)
gate = pathlib.Path({gate!r})
while not gate.exists():
    time.sleep(0.02)
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Return a machine."""
    with Box(tmp_path) as box:
        (box.queues / "local_other").mkdir()
        yield box


def ask(
    box: Box, *, gpus: int, count: int = 0, queue: str = "local_test", wait: bool = True
) -> str:
    """Queue an experiment that says what it sees, and waits where it is to be looked at."""
    gate = box.root / ("gate" if wait else "store")
    needs = {"cpus": 1, "gpus": gpus, "gpuCount": count, "ram": "64m", "hdd": "64m"}
    message = box.message(_SEES.format(gate=str(gate)), resources_needed=needs)
    names = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
    message["config"]["env"] = dict.fromkeys(names, "0,1,2")
    return box.publish(message, queue)


def seen(box: Box, key: str) -> list[str]:
    """Return what an experiment that has ended saw."""
    line = next(line for line in box.output(key).splitlines() if line.startswith("SEEN"))
    return list(json.loads(line.removeprefix("SEEN")))


def cards(box: Box, state: str) -> Json:
    """Return what ``studio-runner gpus`` says of a daemon's cards."""
    command = [sys.executable, "-m", "runner", "gpus", "--json", "--state-dir"]
    done = subprocess.run(
        [*command, str(box.root / state)],
        env=dict(box.environ()),
        capture_output=True,
        text=True,
        check=True,
    )
    found: Json = json.loads(done.stdout)
    return {card["uuid"]: card for card in found["gpus"]}


def test_two_daemons_share_a_machine_and_no_card(box: Box, nvml: Nvml) -> None:
    """One has the card that its environment names, the other what is left.

    Each experiment sees its cards alone, whatever its message wants to see; one without sees none.
    ``studio-runner gpus`` says who has which. A daemon without bounds does not start beside them.
    """
    nvml.cards = [Card("NVIDIA L4"), Card("Tesla T4"), Card("NVIDIA L4")]
    locks = ("--lock-dir", str(box.root / "locks"))
    bounds = ("--max-cores", "3", "--max-mem", "256mib", *locks)
    first = box.start(
        *(*bounds, "--require-gpus", "1", "--queue-match", "^local_test$"),
        variables={**nvml.variables, "CUDA_VISIBLE_DEVICES": "1"},
    )
    until(lambda: "waiting for experiments" in box.log() or None, "a first daemon", box.log)
    second = box.start(
        *(*bounds, "--require-gpus", "2", "--queue-match", "^local_other$"),
        state="second",
        variables=nvml.variables,
    )
    one = ask(box, gpus=1)
    none = ask(box, gpus=0, wait=False)
    too_many = ask(box, gpus=1, count=2)
    two = ask(box, gpus=1, count=2, queue="local_other")

    def both() -> tuple[Json, Json] | None:
        try:
            found = cards(box, "state"), cards(box, "second")
        except subprocess.CalledProcessError:
            return None
        running = [card["held_by"] for mine in found for card in mine.values()]
        return found if len(running) == 3 and all(running) else None

    mine, theirs = until(both, "an experiment on every card", lambda: box.log() + box.log("second"))
    assert [(uuid, card["held_by"][0]["key"]) for uuid, card in mine.items()] == [
        ("GPU-00000001", one)
    ]
    assert {uuid: card["held_by"][0]["key"] for uuid, card in theirs.items()} == {
        "GPU-00000000": two,
        "GPU-00000002": two,
    }
    third = box.start(*locks, "--queue-root", "", state="third", variables=nvml.variables)
    assert third.wait(PATIENCE) == 1
    assert "give each its own --max-cores and --max-mem" in box.log("third")
    assert box.ended(too_many)["cause"] == "too-big"
    assert box.outcome(none)["cause"] == "completed"
    (box.root / "gate").touch()
    assert box.outcome(one)["cause"] == "completed"
    assert box.outcome(two)["cause"] == "completed"
    assert seen(box, none) == ["-1", "-1", "PCI_BUS_ID"]
    assert seen(box, one) == ["GPU-00000001", "GPU-00000001", "PCI_BUS_ID"]
    both_of_them = "GPU-00000000,GPU-00000002"
    assert seen(box, two) == [both_of_them, both_of_them, "PCI_BUS_ID"]
    assert box.drain(first) == box.drain(second) == 0
    assert not box.complaints()
