"""The script for machines with a real card, on one that has none or seems to have some."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import real_gpu
from benchmarks.cards.machine import Machine
from runner.resources.base import GpuInventory
from tests.servers.nvml import Card, Nvml, compiled_cuda

#: What of PyTorch the script uses: its memory is told to the driver's file, and to nobody else.
_TORCH = """
import fcntl, os, time

__version__ = "0.0+pretended"
uint8 = "uint8"
_signs = []


class OutOfMemoryError(RuntimeError):
    pass


class Tensor:
    def __matmul__(self, other):
        time.sleep(0.01)
        return self

    def clamp(self, low, high):
        return self


def _lines():
    with open({file!r}) as file:
        return file.read().splitlines()


def _cards():
    seen = [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    lines = [line.split(" ") for line in _lines()]
    return [line[1] for uuid in seen for line in lines if line[2:] == ["uuid", uuid]]


def empty(size, *, dtype, device):
    (card,) = _cards()
    mine = f"card {{card}} lives {{os.getpid()}} "
    total = next(line for line in _lines() if line.startswith(f"card {{card}} memory "))
    if size * (1 + sum(line.startswith(mine) for line in _lines())) > int(total.split(" ")[-1]):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has less.")
    # Held as long as we live: whoever counts knows us by another number, or by none.
    sign = {file!r} + f".{{os.getpid()}}"
    _signs.append(open(sign, "w"))
    fcntl.flock(_signs[-1], fcntl.LOCK_SH)
    with open({file!r}, "a") as file:
        file.write(f"{{mine}}{{size}} {{sign}}\\n")
    return Tensor()


def ones(shape, *, device):
    return Tensor()


class cuda:
    OutOfMemoryError = OutOfMemoryError

    @staticmethod
    def device_count():
        return len(_cards())

    @staticmethod
    def get_device_name(number):
        card = _cards()[number]
        return next(line for line in _lines() if line.startswith(f"card {{card}} name "))

    @staticmethod
    def synchronize():
        pass
"""


def test_where_no_card_is_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with 2, so that nobody takes it for a result."""
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert real_gpu.main([]) == 2
    said = capsys.readouterr()
    assert "no NVIDIA driver is installed" in said.err
    assert "container toolkit" in said.err
    assert "passed" not in said.out


UUIDS = tuple(f"GPU-{number:08x}-0000-4000-8000-000000000000" for number in (10, 11))


@pytest.fixture
def machine(nvml: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """Two cards on which programs compute, as far as the driver knows."""
    nvml.cards = [Card("NVIDIA L4", UUIDS[0]), Card("Tesla T4", UUIDS[1], utilization=97)]
    nvml.install(monkeypatch)
    cuda = tmp_path / "cuda"
    cuda.mkdir()
    libraries = (compiled_cuda(cuda, nvml), nvml.variables["LD_LIBRARY_PATH"])
    monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(map(str, libraries)))
    return nvml


@pytest.mark.service("nvml")
def test_it_runs_to_its_table(
    machine: Nvml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the real daemon and real processes, whose memory a pretended driver counts."""
    python = tmp_path / "venv/bin/python"
    venv = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(venv, check=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv")})
    Path(packages, "torch.py").write_text(_TORCH.format(file=str(machine.file)))
    status = real_gpu.main(["--python", str(python)])
    said = capsys.readouterr()
    assert status == 0, said.out + said.err
    assert "| driver, CUDA | passed | 550.54.15, 12.4 |" in said.out
    assert f"`{UUIDS[1]}`" in said.out
    assert "| PyTorch |  | 0.0+pretended |" in said.out
    assert "(its own), utilisation 97%" in said.out
    assert "`gpu-out-of-memory`" in said.out
    assert "0 failed\n" in said.out


@pytest.mark.service("nvml")
def test_it_needs_nothing_but_the_driver(
    machine: Nvml, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one check that fails keeps no other from being made."""
    monkeypatch.setattr(real_gpu, "_torch_of", lambda _: (None, []))
    machine.change(UUIDS[1], memory=2 << 30, name="NVIDIA A2")
    monkeypatch.setattr(real_gpu, "_without", _fails)
    status = real_gpu.main(["--patience", "60"])
    said = capsys.readouterr()
    assert status == 1, said.out + said.err
    assert "no PyTorch is here" in said.out
    assert f"| an experiment sees its card alone | passed | NVIDIA A2 {UUIDS[1][4:]};" in said.out
    assert "| one that takes more memory than there is ends with | passed |" in said.out
    assert "1 failed: the check 'fails'\n" in said.out


def _fails(machine: Machine, found: GpuInventory) -> Iterator[real_gpu.Row]:
    """Make an experiment that never says what it is asked for."""
    del found
    machine.said(machine.submit("raise SystemExit('no')", real_gpu.NO_CARD), "SAW")
    yield real_gpu.Row("never", "reached")
