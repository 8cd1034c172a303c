"""Which cards a daemon gives out, what it says of the others, and when it does not start."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from runner.app import machine
from runner.app.machine import Machine
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.settings import Settings
from tests.servers.nvml import Card, Nvml, Part

pytestmark = [pytest.mark.anyio, pytest.mark.service("nvml")]


@pytest.fixture(autouse=True)
def driver(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """Have the probe's process see a driver, and nothing of the developer's own variables."""
    nvml.install(monkeypatch)
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return nvml


async def opened(stack: AsyncExitStack, root: Path, name: str, *more: str) -> Machine:
    """Open the machine as the daemon of this name does; the locks are those of all in ``root``."""
    for place in ("records", "work", "locks"):
        (root / place).mkdir(exist_ok=True)
    argv = [
        *("--state-dir", str(root / name), "--working-dir", str(root / "work")),
        *("--lock-dir", str(root / "locks"), "--min-free-disk", "1%,1gib"),
        *("--gpu-probe", "nvml", *more),
    ]
    settings = Settings.load(argv, {"HOME": str(root)})
    return await machine.opened(stack, settings, root / "records", Locks())


async def refusal(root: Path, *more: str) -> str:
    """Return why a daemon does not start."""
    async with AsyncExitStack() as stack:
        with pytest.raises(Misconfigured) as refused:
            await opened(stack, root, "state", *more)
    return str(refused.value)


def uuids(opened: Machine) -> list[str]:
    """Return the cards that are given out."""
    return [gpu.uuid for gpu in opened.ledger.total.gpus]


async def test_all_cards_are_given_out_and_some_cores_kept_for_them(
    driver: Nvml, tmp_path: Path
) -> None:
    """With their slots; a second look of the same probe finds them again."""
    driver.cards = [Card("Tesla T4"), Card("NVIDIA L4")]
    slots = tmp_path / "slots"
    slots.write_text("99 L4\n")
    async with AsyncExitStack() as stack:
        found = await opened(
            *(stack, tmp_path, "one", "--require-gpus", "2", "--gpu-slots-file", str(slots)),
            *("--reserve-cores-per-gpu", "1", "--reserve-mem-per-gpu", "1mib"),
        )
        assert [gpu.slots for gpu in found.ledger.total.gpus] == [4, 99]
        assert found.ledger.total.why_no_gpus == ""
        assert (found.ledger.gpu_reserve.cores, found.ledger.gpu_reserve.memory) == (1, 1 << 20)
        assert (await found.probe.look()).gpus == found.inventory.gpus


async def test_a_second_daemon_takes_the_cards_that_are_left(
    driver: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with bounds; the third finds none, says who has them, or does not start."""
    driver.cards = [Card("NVIDIA L4") for _ in range(3)]
    bounds = ("--max-cores", "1", "--max-mem", "1mib")
    async with AsyncExitStack() as stack:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert uuids(await opened(stack, tmp_path, "one", *bounds)) == ["GPU-00000001"]
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        second = await opened(stack, tmp_path, "two", *bounds)
        assert uuids(second) == ["GPU-00000000", "GPU-00000002"]
        third = await opened(stack, tmp_path, "three", *bounds)
        assert uuids(third) == []
        why = third.ledger.total.why_no_gpus
        assert why.startswith("other runners give out all of them: NVIDIA L4 GPU-00000000 is left")
        assert f"pid {os.getpid()} and state directory '{tmp_path}/two'" in why
        assert f"'{tmp_path}/one'" in why
        assert f"'{tmp_path}/one'" in await refusal(tmp_path, *bounds, "--require-gpus", "1")


async def test_instances_are_given_out_each_by_itself(driver: Nvml, tmp_path: Path) -> None:
    """A card in MIG mode counts as its instances."""
    driver.cards = [Card("NVIDIA A100-SXM4-40GB", parts=[Part("3g.20gb"), Part("1g.5gb")])]
    async with AsyncExitStack() as stack:
        found = await opened(stack, tmp_path, "one", "--require-gpus", "2")
    assert uuids(found) == ["MIG-00000000-1", "MIG-00000000-2"]


async def test_too_few_cards_are_told_with_the_reason(driver: Nvml, tmp_path: Path) -> None:
    """How many, which, and what the driver says."""
    driver.cards = [Card("NVIDIA L4")]
    said = await refusal(tmp_path, "--require-gpus", "4")
    assert "--require-gpus is 4, and 1 can be given out here (driver 550.54.15)" in said
    assert "only NVIDIA L4 GPU-00000000" in said
    driver.unload()
    said = await refusal(tmp_path, "--require-gpus", "1")
    assert "0 can be given out here" in said
    assert "driver" in said


@pytest.mark.parametrize("unwanted", ["--cpu-only", "--gpu-probe none"])
async def test_requiring_what_is_not_wanted_is_a_contradiction(
    tmp_path: Path, unwanted: str
) -> None:
    """One sentence with both options."""
    said = await refusal(tmp_path, "--require-gpus", "1", *unwanted.split())
    assert said.startswith(f"--require-gpus 1 and {unwanted} contradict each other")


async def test_a_machine_without_cards_says_why(driver: Nvml, tmp_path: Path) -> None:
    """By choice, or because there are none: the daemon starts and knows the reason."""
    for options, why in (
        (["--cpu-only"], "--cpu-only is set"),
        (["--gpu-probe", "none"], "--gpu-probe none is set"),
        ([], "the NVIDIA driver knows of no card"),
    ):
        async with AsyncExitStack() as stack:
            found = await opened(stack, tmp_path, "one", *options)
        assert found.ledger.total.why_no_gpus == why
    assert driver.cards == ()


async def test_a_card_that_is_named_and_not_there_stops_the_daemon(
    driver: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With those that are; whoever is in a container has what its runtime gave it."""
    driver.cards = [Card("NVIDIA L4"), Card("Tesla T4")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,5")
    said = await refusal(tmp_path)
    assert said.startswith("CUDA_VISIBLE_DEVICES names '5'")
    assert "1 (Tesla T4, GPU-00000001)" in said
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    async with AsyncExitStack() as stack:
        assert len(uuids(await opened(stack, tmp_path, "one"))) == 2
