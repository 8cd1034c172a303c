"""Cards: what is plugged in, what the driver says, what is left of it, and who has it."""

from __future__ import annotations

import fcntl
from functools import partial
from pathlib import Path

import pytest

from runner.doctor import gpu
from runner.doctor.check import Verdict
from runner.errors import Misconfigured
from tests.doctor.conftest import Clinic
from tests.servers.nvml import Card, Nvml

pytestmark = pytest.mark.anyio

#: This process may have looked for the library before.
NVML = ("--gpu-probe", "nvml")


def plug_in(root: Path, cards: int) -> None:
    """Put cards on the bus."""
    for number in range(cards):
        device = root / f"sys/bus/pci/devices/0000:0{number}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030200\n")


async def test_a_machine_without_cards_is_no_failure(clinic: Clinic) -> None:
    """Nor one that is not to give any out; one that is told to have some is."""
    look = partial(gpu.look, root=clinic.root)
    found = await clinic.look(look, await clinic.patient("--cpu-only"))
    assert found.verdicts == [Verdict.SKIPPED]
    with pytest.raises(Misconfigured, match="--require-gpus 1 and --cpu-only contradict"):
        await clinic.look(look, await clinic.patient("--cpu-only", "--require-gpus", "1"))
    (clinic.root / "libnvidia-ml.so.1").write_bytes(b"no library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(clinic.root))
        found = await clinic.look(look, await clinic.patient("--gpu-probe", "nvml"))
        assert found.verdicts == [Verdict.FAILED]
        plug_in(clinic.root, 2)
        (told,) = (await clinic.look(look, await clinic.patient("--gpu-probe", "nvml"))).findings
    assert "2 of NVIDIA's cards are plugged in" in told.sentence
    assert "driver" in told.remedy


@pytest.mark.service("nvml")
async def test_each_card_is_told_with_who_has_it(
    clinic: Clinic, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what a variable of the daemon's leaves of them, and what is wrong with one."""
    nvml.cards = [Card("NVIDIA L4"), Card("Tesla V100-SXM2-16GB"), Card("NVIDIA L4", ecc=2)]
    nvml.install(monkeypatch)
    plug_in(clinic.root, 3)
    (clinic.root / "locks").mkdir()
    with (clinic.root / "locks" / "gpu-GPU-00000001.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patient = await clinic.patient(
            "--gpu-probe", "nvml", environ={"CUDA_VISIBLE_DEVICES": "1,2"}
        )
        found = await clinic.look(partial(gpu.look, root=clinic.root), patient)
    assert found.saying("driver 550.54.15 answers, for CUDA up to 12.4").verdict is Verdict.OK
    restricted = found.saying("CUDA_VISIBLE_DEVICES=1,2 leaves 2 of 3 cards")
    assert restricted.verdict is Verdict.WARNING
    card = found.about("GPU-00000001")
    assert card.verdict is Verdict.OK
    assert "Tesla V100" in card.sentence
    assert "gives it out" in card.sentence
    broken = found.about("GPU-00000002")
    assert broken.verdict is Verdict.WARNING
    assert "could not be corrected" in broken.sentence
    assert found.about("nvidiactl").verdict is Verdict.WARNING


@pytest.mark.service("nvml")
async def test_what_keeps_a_daemon_from_starting_fails(
    clinic: Clinic, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer cards than are required, and a variable that names one that is not there."""
    nvml.cards = [Card("NVIDIA L4")]
    nvml.install(monkeypatch)
    look = partial(gpu.look, root=clinic.root)
    found = await clinic.look(look, await clinic.patient(*NVML, "--require-gpus", "2"))
    told = found.about("start")
    assert told.verdict is Verdict.FAILED
    assert "--require-gpus is 2, and 1 can be given out here" in told.sentence
    patient = await clinic.patient(*NVML, environ={"CUDA_VISIBLE_DEVICES": "GPU-7"})
    told = (await clinic.look(look, patient)).about("start")
    assert "CUDA_VISIBLE_DEVICES names 'GPU-7'" in told.sentence
