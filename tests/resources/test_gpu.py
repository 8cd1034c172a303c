"""The GPU probes, against a driver's library that was compiled for the test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anyio
import pytest

from runner.resources.base import GpuInventory, GpuProbe
from runner.resources.gpu import NoGpuProbe, NvmlProbe
from tests.contracts.resources import GpuProbeContract

pytestmark = pytest.mark.anyio

V100 = "GPU-aaaa-1|Tesla V100-SXM2-16GB|16160"
L4 = "GPU-bbbb-2|NVIDIA L4|23034"


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the stub and return its directory."""
    directory = tmp_path_factory.mktemp("nvml")
    library = directory / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_stub.c")
    command = ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, "-o", str(library), str(source)], check=True)
    return directory


class Machine:
    """A machine with the cards of a text file."""

    def __init__(self, driver: Path, cards: Path) -> None:
        self.cards = cards
        self.variables = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(driver),
            "NVML_STUB": str(cards),
        }

    def has(self, *lines: str) -> None:
        """Put in these cards."""
        self.cards.write_text("".join(f"{line}\n" for line in lines))

    async def look(self, timeout: float = 60, **variables: str) -> GpuInventory:  # noqa: ASYNC109
        """Take the inventory with further environment variables."""
        return await NvmlProbe(variables=self.variables | variables, timeout=timeout).look()


@pytest.fixture
def machine(driver: Path, tmp_path: Path) -> Machine:
    """Return a machine with a driver and no cards yet."""
    machine = Machine(driver, tmp_path / "cards")
    machine.has()
    return machine


@pytest.mark.service("nvml")
class TestNvmlProbe(GpuProbeContract):
    """The real probe, its process and pynvml, with two cards."""

    @pytest.fixture
    def probe(self, machine: Machine) -> GpuProbe:
        """Ask a driver that has two cards."""
        machine.has(V100, L4)
        return NvmlProbe(variables=machine.variables)


class TestNvmlProbeWithoutDriver(GpuProbeContract):
    """The real probe where no driver is found."""

    @pytest.fixture
    def probe(self, tmp_path: Path) -> GpuProbe:
        """Ask a driver that cannot be loaded, also where there is a real one."""
        (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
        return NvmlProbe(variables={"LD_LIBRARY_PATH": str(tmp_path)})


class TestNoGpuProbe(GpuProbeContract):
    """The probe of a machine that gives out no cards."""

    @pytest.fixture
    def probe(self) -> GpuProbe:
        """Ask nobody."""
        return NoGpuProbe()


@pytest.mark.service("nvml")
async def test_cards_come_with_name_memory_and_slots(machine: Machine) -> None:
    """What the driver says arrives unchanged, with the slots of the table."""
    machine.has(V100, L4)
    first, second = (await machine.look()).gpus
    assert (first.uuid, first.name) == ("GPU-aaaa-1", "Tesla V100-SXM2-16GB")
    assert (first.memory, first.slots) == (16160 << 20, 16)
    assert (second.uuid, second.slots) == ("GPU-bbbb-2", 12)


@pytest.mark.service("nvml")
async def test_the_environment_restricts_the_cards(machine: Machine) -> None:
    """A daemon that is shown one card gives out one card."""
    machine.has(V100, L4)
    found = await machine.look(CUDA_VISIBLE_DEVICES="1")
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA L4"]


@pytest.mark.service("nvml")
async def test_a_lost_card_hides_no_other(machine: Machine) -> None:
    """A card that fell off the bus is left out, and the others keep their indexes."""
    machine.has("GPU-cccc-3|LOST|16160", V100, L4)
    assert [gpu.uuid for gpu in (await machine.look()).gpus] == ["GPU-aaaa-1", "GPU-bbbb-2"]
    shown = await machine.look(CUDA_VISIBLE_DEVICES="1")
    assert [gpu.uuid for gpu in shown.gpus] == ["GPU-aaaa-1"]


@pytest.mark.service("nvml")
async def test_only_lost_cards_are_none_with_a_reason(machine: Machine) -> None:
    """When no card answers, the driver's own words say why."""
    machine.has("GPU-cccc-3|LOST|16160")
    assert "GPU is lost" in (await machine.look()).why_none


@pytest.mark.service("nvml")
async def test_a_hung_driver_call_is_given_up(machine: Machine) -> None:
    """A driver that never answers costs the timeout, not the daemon; its process is gone."""
    machine.has("GPU-dddd-4|HANG|16160")
    assert "gave no answer in 0.5 s" in (await machine.look(timeout=0.5)).why_none


@pytest.mark.service("nvml")
async def test_a_driver_that_refuses_is_quoted(machine: Machine) -> None:
    """A driver that cannot be initialised is a reason, not an error."""
    machine.cards.unlink()
    assert "the NVIDIA driver does not answer" in (await machine.look()).why_none


@pytest.mark.service("nvml")
async def test_a_machine_without_cards_says_so(machine: Machine) -> None:
    """A driver with no cards is not the same as no driver."""
    assert (await machine.look()).why_none == "the NVIDIA driver knows of no card"


async def test_a_broken_interpreter_is_a_reason(tmp_path: Path) -> None:
    """A probe whose process cannot even be started does not raise."""
    found = await NvmlProbe(python=str(tmp_path / "none")).look()
    assert found.why_none.startswith("the GPU inventory failed")


async def test_a_query_that_prints_nonsense_is_a_reason(tmp_path: Path) -> None:
    """Whatever the process prints, the daemon gets an inventory."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho '{\"gpus\": [7]}'\n")
    script.chmod(0o755)
    with anyio.fail_after(60):
        assert (await NvmlProbe(python=str(script)).look()).why_none
