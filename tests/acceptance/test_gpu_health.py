"""A real daemon whose cards break while it works, as the driver tells it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from runner.control.client import ask
from tests.acceptance.box import PATIENCE, Box, Json, until
from tests.servers.nvml import Card, Nvml

pytestmark = [pytest.mark.anyio, pytest.mark.service("nvml")]

GIB = 1 << 30
VERSION_MISMATCH = 18
GPU: Mapping[str, object] = {"cpus": 1, "gpus": 1, "gpuCount": 1, "ram": "256m", "hdd": "64m"}
#: Says which card it has, and waits for a file.
WAITS = """
import os, sys, time
print("has", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
while not os.path.exists({gate!r}):
    time.sleep(0.02)
print({last!r}, flush=True)
sys.exit({code})
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Make a machine."""
    with Box(tmp_path) as box:
        yield box


def start(box: Box, nvml: Nvml, *options: str) -> subprocess.Popen[bytes]:
    """Start a daemon that looks at its cards all the time."""
    daemon = box.start("--gpu-look", "50ms", *options, variables=nvml.variables)
    until(lambda: (box.state / "control.sock").exists() or None, "the socket", box.log)
    return daemon


def run(box: Box, gate: Path, last: str = "", code: int = 0) -> str:
    """Submit what has a card and ends when the gate is there."""
    script = WAITS.format(gate=str(gate), last=last, code=code)
    return box.submit(script, resources_needed=GPU)


def ran(box: Box, key: str) -> bool:
    """Tell whether an experiment has begun to run."""
    return f"{key} is running" in box.log()


async def cards(box: Box) -> dict[str, Json]:
    """Return what status shows of each card, by UUID."""
    (status,) = [item async for item in ask(box.state / "control.sock", "status")]
    return {card["uuid"]: card for card in status["daemon"]["gpus"]}


def metrics(box: Box) -> dict[tuple[str, str, str], float]:
    """Return the metrics of cards, by name, card and reason."""
    found = re.search(r'"url": ?"http://([^"]+)"', box.log())
    assert found is not None
    with closing(HTTPConnection(found[1], timeout=PATIENCE)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return {
        (one.name, one.labels["gpu"], one.labels.get("reason", "")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if "gpu" in one.labels
    }


async def withheld(box: Box, uuid: str, said: str) -> None:
    """Wait until status shows a card so: withheld with such a sentence, or not at all."""
    with anyio.fail_after(PATIENCE):
        while True:
            found = (await cards(box))[uuid]["withheld"]
            if said in found if said else not found:
                return
            await anyio.sleep(0.02)


async def test_a_card_that_breaks_is_withheld_until_it_is_mended(box: Box, nvml: Nvml) -> None:
    """Named in status and in the news; what needs a card waits for it, what needs none runs."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4")]
    start(box, nvml)
    nvml.change("GPU-l4", ecc=3)
    await withheld(box, "GPU-l4", "3 errors that could not be corrected")
    numbers = metrics(box)
    assert numbers["runner_gpu_withheld", "GPU-l4", "ecc"] == 1
    assert numbers["runner_gpu_withheld", "GPU-l4", "lost"] == 0
    assert numbers["runner_gpu_temperature_celsius", "GPU-l4", ""] == 40
    assert numbers["runner_gpu_held", "GPU-l4", ""] == 0
    gate = box.root / "gate"
    gate.touch()
    waits = run(box, gate)
    assert box.outcome(box.submit("print('without a card')"))["cause"] == "completed"
    assert not ran(box, waits)
    nvml.change("GPU-l4", ecc=0)
    assert box.outcome(waits)["cause"] == "completed"
    assert "has GPU-l4" in box.output(waits)
    nvml.lose("GPU-l4")
    await withheld(box, "GPU-l4", "GPU is lost")
    nvml.mend("GPU-l4")
    await withheld(box, "GPU-l4", "")
    kinds = [line for line in box.log().splitlines() if '"GPU-l4 (NVIDIA L4) is ' in line]
    assert ["is not given out" in line for line in kinds] == [True, False, True, False]
    assert not box.complaints()


async def test_a_run_whose_card_breaks_is_tried_again_elsewhere_for_nothing(
    box: Box, nvml: Nvml
) -> None:
    """It is a fault of the card, named with its Xid, and counts as no attempt of its own."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4"), Card("NVIDIA A100-SXM4-40GB", "GPU-a100")]
    start(box, nvml, "--max-attempts", "1")
    gate = box.root / "gate"
    key = run(box, gate, last="CUDA error: unspecified launch failure", code=1)
    until(lambda: "has GPU-l4" in box.live_output() or None, "a run", box.log)
    nvml.xid("GPU-l4", 119)
    gate.touch()
    fault = until(lambda: next(iter(box.settled()), None), "an end", box.log)
    assert (fault["cause"], fault["settled"]) == ("gpu-fault", "released")
    assert "Xid 119, its system processor did not answer the driver, for GPU-l4" in fault["detail"]
    await withheld(box, "GPU-l4", "again after 10m without a fault")
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("exit", 2)
    assert (box.claim(key) or {})["counted"] == 0
    assert "has GPU-a100" in box.output(key)
    assert "has GPU-l4" in box.output(key)
    assert not box.complaints()


async def test_what_the_experiment_did_to_its_card_is_its_own_failure(box: Box, nvml: Nvml) -> None:
    """An application's Xid explains it; a card without memory has a cause; neither costs a card."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4")]
    start(box, nvml)
    first, second = box.root / "first", box.root / "second"
    key = run(box, first, code=1)
    until(lambda: "has GPU-l4" in box.live_output() or None, "a run", box.log)
    nvml.xid("GPU-l4", 31)
    first.touch()
    outcome = box.outcome(key)
    assert outcome["cause"] == "exit"
    assert "Xid 31, an access to memory that is not there, for GPU-l4" in outcome["detail"]
    second.touch()
    last = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."
    outcome = box.outcome(run(box, second, last=last, code=1))
    assert outcome["cause"] == "gpu-out-of-memory"
    assert last in outcome["detail"]
    assert (await cards(box))["GPU-l4"]["withheld"] == ""


async def test_the_next_experiment_waits_for_the_memory_of_the_last_one(
    box: Box, nvml: Nvml
) -> None:
    """A process of it that takes its time to die keeps the card; nobody is told of that."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4")]
    start(box, nvml)
    gate = box.root / "gate"
    first = run(box, gate)
    until(lambda: "has GPU-l4" in box.live_output() or None, "a run", box.log)
    nvml.runs("GPU-l4", 4711, 8 * GIB)
    second = run(box, gate)
    gate.touch()
    assert box.outcome(first)["cause"] == "completed"
    await withheld(box, "GPU-l4", "the memory of its last experiment is not back")
    assert not ran(box, second)
    nvml.ends("GPU-l4", 4711)
    assert box.outcome(second)["cause"] == "completed"
    assert "gpu-withheld" not in box.log()


async def test_a_killed_daemons_run_keeps_its_card(box: Box, nvml: Nvml) -> None:
    """The next daemon takes its memory for what it is, and waits for it in the end."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4")]
    gate = box.root / "gate"
    daemon = start(box, nvml)
    key = run(box, gate)
    until(lambda: "has GPU-l4" in box.live_output() or None, "a run", box.log)
    nvml.runs("GPU-l4", 4711, 8 * GIB)
    box.kill(daemon)
    (box.state / "control.sock").unlink()
    start(box, nvml)
    until(lambda: "goes on under another daemon" in box.log() or None, "an adoption", box.log)
    await withheld(box, "GPU-l4", "")
    assert [one["key"] for one in (await cards(box))["GPU-l4"]["held_by"]] == [key]
    gate.touch()
    assert box.outcome(key)["cause"] == "completed"
    await withheld(box, "GPU-l4", "the memory of its last experiment is not back")
    nvml.ends("GPU-l4", 4711)
    await withheld(box, "GPU-l4", "")
    assert "gpu-withheld" not in box.log()


async def test_a_driver_that_dies_costs_nothing_but_the_cards(box: Box, nvml: Nvml) -> None:
    """Experiments without one go on; those with one wait for the driver."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4"), Card("NVIDIA L4", "GPU-l5")]
    start(box, nvml)
    nvml.unload()
    for uuid in ("GPU-l4", "GPU-l5"):
        await withheld(box, uuid, "no card answers")
    gate = box.root / "gate"
    gate.touch()
    waits = run(box, gate)
    assert box.outcome(box.submit("print('without a card')"))["cause"] == "completed"
    assert not ran(box, waits)
    nvml.load()
    assert box.outcome(waits)["cause"] == "completed"


async def test_an_idle_experiment_is_ended_where_the_operator_wants_it(
    box: Box, nvml: Nvml
) -> None:
    """With the cause ``idle``, which is final."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4")]
    start(box, nvml, "--idle-gpu", "300ms", "--end-idle")
    key = run(box, box.root / "never")
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("idle", 1)
    assert "its GPU did nothing for" in outcome["detail"]
    assert "gpu-idle" in box.log()


async def test_a_run_that_waits_for_a_card_that_is_gone_is_ended_and_tried_elsewhere(
    box: Box, nvml: Nvml
) -> None:
    """A driver that is exchanged meanwhile ends nobody; the card's own word does."""
    nvml.cards = [Card("NVIDIA L4", "GPU-l4"), Card("NVIDIA A100-SXM4-40GB", "GPU-a100")]
    start(box, nvml, "--max-attempts", "1")
    gate = box.root / "gate"
    key = run(box, gate)
    until(lambda: "has GPU-l4" in box.live_output() or None, "a run", box.log)
    nvml.unload(VERSION_MISMATCH)
    await withheld(box, "GPU-l4", "no card answers")
    nvml.load()
    await withheld(box, "GPU-l4", "")
    assert not box.settled()
    nvml.lose("GPU-l4")
    fault = until(lambda: next(iter(box.settled()), None), "an end", box.log)
    assert (fault["cause"], fault["settled"]) == ("gpu-fault", "released")
    assert "GPU-l4 does not answer: GPU is lost" in fault["detail"]
    until(lambda: "has GPU-a100" in box.live_output() or None, "another run", box.log)
    gate.touch()
    assert box.outcome(key)["cause"] == "completed"
    assert (box.claim(key) or {})["counted"] == 0
    assert not box.complaints()
