"""Cards: what is plugged in, what the driver says, what is left of it, and who has it."""

from __future__ import annotations

import fcntl
import subprocess
from functools import partial
from pathlib import Path

import pytest

from runner.doctor import gpu
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic

pytestmark = pytest.mark.anyio

_STUB = Path(__file__).parents[1] / "resources/nvml_stub.c"
_CARDS = "GPU-aaaa-1|Tesla V100-SXM2-16GB|16160\nGPU-bbbb-2|NVIDIA L4|23034\n"


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
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what a variable of the daemon's leaves of them."""
    library = clinic.root / "libnvidia-ml.so.1"
    command = ["/usr/bin/gcc", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o"]
    subprocess.run([*command, str(library), str(_STUB)], check=True)  # noqa: ASYNC221 - a moment
    (clinic.root / "cards").write_text(_CARDS)
    environ = {"CUDA_VISIBLE_DEVICES": "1"}
    for name, value in {
        "LD_LIBRARY_PATH": str(clinic.root),
        "NVML_STUB": str(clinic.root / "cards"),
        **environ,
    }.items():
        monkeypatch.setenv(name, value)
    plug_in(clinic.root, 2)
    (clinic.root / "locks").mkdir()
    with (clinic.root / "locks" / "gpu-GPU-bbbb-2.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patient = await clinic.patient("--gpu-probe", "nvml", environ=environ)
        found = await clinic.look(partial(gpu.look, root=clinic.root), patient)
    assert found.saying("CUDA_VISIBLE_DEVICES=1 leaves 1 of 2 cards").verdict is Verdict.WARNING
    card = found.about("GPU-bbbb-2")
    assert card.verdict is Verdict.OK
    assert "NVIDIA L4" in card.sentence
    assert "gives it out" in card.sentence
    assert found.about("nvidiactl").verdict is Verdict.WARNING
