"""What NVIDIA's driver and a real card do, in one command: ``python -m benchmarks.real_gpu``.

Prints a table for ``docs/gpus.md``: the inventory, an experiment with PyTorch that is pinned to its
card and seen there by NVML, one that asks for none and sees none, one that wants more memory than
there is and is named for it, and the card's memory after a run was killed. PyTorch is installed by
the daemon from the package index; ``--python`` names an interpreter that has it, where there is no
network. Ends with 2 where something is missing that it needs, and says what; with 1 where the
machine does not behave.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from runner.model import Cause, Gpu
from runner.resources.base import GpuInventory, GpuReading
from runner.resources.gpu import NvmlProbe
from tests.acceptance.box import Box, until

MIB, GIB = 1 << 20, 1 << 30
#: PyTorch and its libraries are gigabytes.
PATIENCE = 3600.0
HELD = GIB
NEEDS = {"cpus": 1, "gpus": 1, "gpuCount": 1, "gpuMem": "1gb", "ram": "6g", "hdd": "12g"}
NO_CARD = NEEDS | {"gpus": 0, "gpuCount": 0, "gpuMem": "0"}

#: What an experiment says of its cards.
LOOK = """
import json, os, sys
sys.path += {packages!r}
import torch
names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
named = {{name: os.environ.get(name) for name in (
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}}
print("SAW", json.dumps({{"torch": torch.__version__, "names": names, **named}}), flush=True)
"""
#: Computes until it is killed, with memory of a known size; once.
COMPUTE = (
    LOOK
    + """
if os.path.exists({mark!r}):
    sys.exit()
open({mark!r}, "x").close()
held = torch.empty({held}, dtype=torch.uint8, device="cuda")
matrix = torch.ones((2048, 2048), device="cuda")
while True:
    matrix = (matrix @ matrix).clamp(0, 1)
    torch.cuda.synchronize()
    if held is not None:
        print("COMPUTES", os.getpid(), flush=True)
        kept, held = held, None
"""
)
#: Takes all that there is, and more.
GREEDY = (
    LOOK
    + """
taken = []
while True:
    taken.append(torch.empty({held}, dtype=torch.uint8, device="cuda"))
"""
)


class Missing(Exception):
    """What is needed is not there; a sentence."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    seen: str
    is_right: bool = True


@dataclass(frozen=True)
class Machine:
    """Where it happens."""

    box: Box
    #: Requirements of the experiments, and directories of packages that are there already.
    requirements: Sequence[str]
    packages: Sequence[str]

    def submit(self, script: str, needs: Mapping[str, object]) -> str:
        """Queue an experiment and return its key."""
        mark = str(self.box.root / "killed-once")
        text = script.format(packages=list(self.packages), held=HELD, mark=mark)
        requirements = list(self.requirements)
        return self.box.submit(text, resources_needed=dict(needs), pythonenv=requirements)

    def said(self, word: str) -> str:
        """Wait until the experiment that runs has said a word, and return the rest of the line."""

        def found() -> str | None:
            match = re.search(rf"^{word} (.*)$", self.box.live_output(), re.MULTILINE)
            return match[1] if match else None

        return until(found, f"an experiment that says {word}", self.box.log, PATIENCE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it all; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_gpu", description=__doc__)
    parser.add_argument("--torch", default="torch", help="requirement that brings PyTorch")
    parser.add_argument("--python", help="an interpreter that has PyTorch: nothing is installed")
    options = parser.parse_args(arguments)
    try:
        found, rows = anyio.run(_inventory)
        rows += _experiments(found, options.torch, options.python)
    except Missing as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return 2
    print("| what | seen |\n|---|---|")
    for row in rows:
        print(f"| {row.what} | {'' if row.is_right else '**wrong**: '}{row.seen} |")
    return 0 if all(row.is_right for row in rows) else 1


async def _inventory() -> tuple[GpuInventory, list[Row]]:
    async with aclosing(NvmlProbe()) as probe:
        took = []
        for _ in range(11):
            begun = time.perf_counter()
            found = await probe.look()
            took.append((time.perf_counter() - begun) * 1000)
            if not found.gpus:
                raise Missing(
                    f"{found.why_none}; run this on a machine with an NVIDIA card and its driver, "
                    "in a container with NVIDIA's container toolkit (docker run --gpus all)"
                )
    rows = [Row("driver, CUDA", f"{found.driver}, {found.cuda}")]
    rows += [Row(gpu.name, _described(gpu, found.readings[gpu.uuid])) for gpu in found.gpus]
    looks = f"{took[0]:.0f} ms with the start of the process, then {sorted(took[1:])[5]:.1f} ms"
    return found, [*rows, Row("a look at all cards", looks)]


def _described(gpu: Gpu, reading: GpuReading) -> str:
    words = [
        f"`{gpu.uuid}`",
        f"{gpu.memory / GIB:.1f} GiB, {reading.used / MIB:.0f} MiB in use",
        f"{gpu.slots} slots",
        f"part of `{gpu.parent}`" if gpu.parent else "",
        f"{reading.temperature} °C" if reading.temperature is not None else "",
        f"{reading.power:.0f} W" if reading.power is not None else "",
        f"near to {', '.join(f'{uuid} ({far})' for uuid, far in gpu.links)}" if gpu.links else "",
        f"does not answer: {reading.lost}" if reading.lost else "",
    ]
    return "; ".join(filter(None, words))


# ---------------------------------------------------------------------- experiments


def _experiments(found: GpuInventory, torch: str, python: str | None) -> list[Row]:
    packages = _packages(python) if python else []
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory)) as box:
        machine = Machine(box, [] if python else [torch], packages)
        chosen = ["--default-python", python] if python else []
        # The index, proxies and what says where the driver is are the machine's own.
        print("experiments run; PyTorch may have to be installed first", file=sys.stderr)
        daemon = box.start(*chosen, variables=dict(os.environ))
        rows = _pinned(machine, found)
        rows += [_without(machine), _greedy(machine)]
        box.drain(daemon)
    return rows


def _packages(python: str) -> list[str]:
    """Return where an interpreter has its packages. Raises Missing."""
    asked = "import json, sys, torch; print(json.dumps([p for p in sys.path if 'packages' in p]))"
    try:
        said = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{python} cannot import torch: {error}") from error
    return [str(path) for path in json.loads(said.stdout.splitlines()[-1])]


def _pinned(machine: Machine, found: GpuInventory) -> list[Row]:
    """Run one that computes, look at its card, and kill it."""
    key = machine.submit(COMPUTE, NEEDS)
    saw = json.loads(machine.said("SAW"))
    pid = int(machine.said("COMPUTES"))
    card = saw["CUDA_VISIBLE_DEVICES"]
    before = found.readings[card].used if card in found.readings else 0
    # The driver's figure for the use of the card is of the second before.
    busy = _reading(card, lambda one: one.used >= before + HELD and one.utilization != 0)
    killed = _kill_run(machine.box)
    begun = time.monotonic()
    free = _reading(card, lambda reading: reading.used <= before + 64 * MIB)
    took = time.monotonic() - begun
    outcome = machine.box.outcome(key, PATIENCE)
    users = {process.pid for process in busy.processes}
    whose = "its own" if pid in users else "pids of the host, or none, as in a container"
    load = "unknown" if busy.utilization is None else f"{busy.utilization:.0%}"
    return [
        Row(
            f"an experiment with PyTorch {saw['torch']} sees",
            f"{', '.join(saw['names']) or 'nothing'}; "
            + ", ".join(f"`{name}={saw[name]}`" for name in sorted(saw) if name.isupper()),
            len(saw["names"]) == 1 and card in found.readings,
        ),
        Row(
            "NVML sees it on that card",
            f"{busy.used / GIB:.2f} GiB in use by {len(users)} processes ({whose}), "
            f"utilisation {load}, {busy.power or 0:.0f} W",
            busy.used >= before + HELD,
        ),
        Row(
            f"after SIGKILL of the run ({killed} processes)",
            f"{free.used / MIB:.0f} MiB in use after {took:.1f} s, {len(free.processes)} processes "
            f"({before / MIB:.0f} MiB before it); attempt {outcome['attempt']} of the experiment: "
            f"`{outcome['cause']}`",
            free.used <= before + 64 * MIB and outcome["cause"] == Cause.COMPLETED,
        ),
    ]


def _without(machine: Machine) -> Row:
    key = machine.submit(LOOK, NO_CARD)
    machine.box.outcome(key, PATIENCE)
    said = re.search(r"^SAW (.*)$", machine.box.output(key), re.MULTILINE)
    names = json.loads(said[1])["names"] if said else ["nothing was said"]
    return Row("one that asks for no card sees", ", ".join(names) or "none", is_right=not names)


def _greedy(machine: Machine) -> Row:
    key = machine.submit(GREEDY, NEEDS)
    outcome = machine.box.outcome(key, PATIENCE)
    return Row(
        "one that takes more memory than there is ends with",
        f"`{outcome['cause']}`: {outcome['detail']}".replace("\n", " "),
        is_right=outcome["cause"] == Cause.GPU_OUT_OF_MEMORY,
    )


def _reading(card: str, is_so: Callable[[GpuReading], bool]) -> GpuReading:
    """Look at a card until something is so, or half a minute has gone; return the last look."""

    async def look() -> GpuReading:
        reading = GpuReading(lost="never seen")
        async with aclosing(NvmlProbe(variables=_unrestricted())) as probe:
            with anyio.move_on_after(30):
                while not is_so(reading):
                    reading = (await probe.look()).readings.get(card, reading)
                    await anyio.sleep(0.02)
        return reading

    return anyio.run(look)


def _unrestricted() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if "VISIBLE_DEVICES" not in name}


def _kill_run(box: Box) -> int:
    """Send SIGKILL to the supervisor and to all that runs under it; return how many those are."""
    killed = 0
    for pid in box.processes():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"runner" not in words and not any(word.endswith(b"nvml/main.py") for word in words):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


if __name__ == "__main__":
    sys.exit(main())
