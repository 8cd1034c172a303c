"""What NVIDIA's driver and a real card do, in one command: ``python -m benchmarks.real_gpu``.

Prints a table for ``docs/gpus.md``, a line as soon as it is known, and at its end how many checks
passed: versions, the inventory, an experiment that computes, is pinned to its card and seen there
by NVML, the card's memory after that was killed, one that asks for no card and sees none, and one
that wants more memory than there is and is named for it.

It needs the driver and what the runner itself needs, no network: experiments call the driver's own
library. They use PyTorch where ``--python`` names an interpreter that has it, or the ``python3``
on the path does; ``--torch torch`` has the daemon install it from the package index. One check
that fails, or takes longer than ``--patience``, keeps no other from being made. Ends with 2 where
there is no card, and says why; with 1 where a check failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio

import runner
from benchmarks.cards.machine import GIB, HELD, Machine, Missing, saw, scripts
from runner import revision
from runner.model import Cause, Gpu
from runner.resources.base import GpuInventory, GpuReading
from runner.resources.gpu import NvmlProbe
from tests.acceptance.box import Box

MIB = 1 << 20
#: Of one experiment, its installing included.
PATIENCE = 120.0
NEEDS = {"cpus": 1, "gpus": 1, "gpuCount": 1, "gpuMem": "1gb", "ram": "6g", "hdd": "12g"}
NO_CARD = NEEDS | {"gpus": 0, "gpuCount": 0, "gpuMem": "0"}
#: Where the driver's library lies is the machine's business.
_EXPOSED = "LD_LIBRARY_PATH"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    seen: str
    #: ``None``: it is told, and is neither right nor wrong.
    is_right: bool | None = None

    def __str__(self) -> str:
        """Write it in Markdown."""
        verdict = {None: "", True: "passed", False: "**failed**"}[self.is_right]
        return f"| {self.what} | {verdict} | {self.seen} |".replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it all; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.real_gpu", description=__doc__)
    parser.add_argument("--torch", help="requirement that brings PyTorch, from the package index")
    parser.add_argument("--python", help="an interpreter that has PyTorch: nothing is installed")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for one check")
    options = parser.parse_args(arguments)
    rows = list[Row]()
    try:
        print("| what | verdict | seen |\n|---|---|---|", flush=True)
        for row in _all(options.torch, options.python, options.patience):
            print(row, flush=True)
            rows.append(row)
    except Missing as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return 2
    failed = [row.what for row in rows if row.is_right is False]
    passed = sum(row.is_right is True for row in rows)
    print(f"\n{passed} passed, {len(failed)} failed{': ' if failed else ''}{'; '.join(failed)}")
    return 1 if failed else 0


def _all(torch: str | None, python: str | None, patience: float) -> Iterator[Row]:
    yield from _versions()
    found, rows = anyio.run(_inventory)
    yield from rows
    yield from _experiments(found, torch, python, patience)


def _versions() -> Iterator[Row]:
    said = f"{runner.__version__}{revision.shown()}, nvidia-ml-py {version('nvidia-ml-py')}"
    yield Row("studio-runner", said)
    yield Row("Python, kernel", f"{platform.python_version()}, {platform.release()}")


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
    rows = [Row("driver, CUDA", f"{found.driver}, {found.cuda}", bool(found.driver and found.cuda))]
    rows += [_described(gpu, found.readings[gpu.uuid]) for gpu in found.gpus]
    looks = f"{took[0]:.0f} ms with the start of the process, then {sorted(took[1:])[5]:.1f} ms"
    return found, [*rows, Row("a look at all cards", looks)]


def _described(gpu: Gpu, reading: GpuReading) -> Row:
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
    return Row(gpu.name, "; ".join(filter(None, words)), not reading.lost and gpu.memory > 0)


# ---------------------------------------------------------------------- experiments


def _experiments(
    found: GpuInventory, torch: str | None, python: str | None, patience: float
) -> Iterator[Row]:
    python, packages = _torch_of(python) if not torch else (None, [])
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory)) as box:
        machine = Machine(box, [torch] if torch else [], packages, patience)
        chosen = ["--default-python", python] if python else []
        exposed = ["--expose-env", _EXPOSED] if _EXPOSED in os.environ else []
        # The index, proxies and what says where the driver is are the machine's own.
        daemon = box.start(*chosen, *exposed, variables=dict(os.environ))
        whose = "PyTorch" if machine.has_torch else "the driver's library alone: no PyTorch is here"
        yield Row("experiments compute with", whose)
        for check in (_pinned, _without, _greedy):
            try:
                yield from check(machine, found)
            except Missing as error:
                yield Row(f"the check {check.__name__.strip('_')!r}", str(error), is_right=False)
        yield from _of_daemon(box)
        box.drain(daemon)


def _torch_of(python: str | None) -> tuple[str | None, list[str]]:
    """Return an interpreter and where it has its packages. Raises Missing for one that was named.

    Without a name it is the first one that can import PyTorch, or none.
    """
    if python is not None:
        return python, _packages(python)
    for one in filter(None, (sys.executable, shutil.which("python3"), "/usr/bin/python3")):
        try:
            return one, _packages(one)
        except Missing:
            continue
    return None, []


def _packages(python: str) -> list[str]:
    """Return where an interpreter has its packages. Raises Missing."""
    asked = "import json, sys, torch; print(json.dumps([p for p in sys.path if 'packages' in p]))"
    try:
        said = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{python} cannot import torch: {error}") from error
    return [str(path) for path in json.loads(said.stdout.splitlines()[-1])]


def _of_daemon(box: Box) -> Iterator[Row]:
    """Tell in what the experiments ran, and whether the daemon met a mistake of its own."""
    lines = [json.loads(line) for line in box.log().splitlines() if line.startswith("{")]
    about = [one["event"] for one in lines if one.get("component") in {"app.bounds", "app.sandbox"}]
    yield Row("the daemon says", "; ".join(about))
    complaints = box.complaints()
    yield Row("the daemon's own mistakes", "; ".join(complaints) or "none", not complaints)


def _pinned(machine: Machine, found: GpuInventory) -> Iterator[Row]:
    """Run one that computes, look at its card, and kill it."""
    script = scripts.COMPUTE_WITH_TORCH if machine.has_torch else scripts.COMPUTE
    key = machine.submit(script, NEEDS)
    look = saw(machine.said(key, "SAW"))
    yield _shown(look, found)
    pid = int(machine.said(key, "COMPUTES"))
    if machine.has_torch:
        yield Row("PyTorch", machine.said(key, "PYTORCH"))
    card = look["CUDA_VISIBLE_DEVICES"]
    before = found.readings[card].used if card in found.readings else 0
    # The driver's figure for the use of the card is of the second before.
    busy = _reading(card, lambda one: one.used >= before + HELD and one.utilization != 0)
    yield _busy(busy, before, pid)
    killed = machine.kill_runs()
    begun = time.monotonic()
    free = _reading(card, lambda reading: reading.used <= before + 64 * MIB)
    took = time.monotonic() - begun
    outcome = machine.outcome(key)
    yield Row(
        f"after SIGKILL of the run ({killed} processes)",
        f"{free.used / MIB:.0f} MiB in use after {took:.1f} s, {len(free.processes)} processes "
        f"({before / MIB:.0f} MiB before it); attempt {outcome['attempt']} of the experiment: "
        f"`{outcome['cause']}`",
        free.used <= before + 64 * MIB and outcome["cause"] == Cause.COMPLETED,
    )


def _shown(look: Mapping[str, Any], found: GpuInventory) -> Row:
    """Judge what an experiment sees: CUDA's own name of its one card is the one it was given."""
    given = str(look["CUDA_VISIBLE_DEVICES"])
    cards = [f"{name} {uuid}" for name, uuid in look["cards"]]
    variables = (f"`{name}={look[name]}`" for name in sorted(look) if name.isupper())
    is_it = len(cards) == 1 and given in found.readings and given.endswith(look["cards"][0][1])
    seen = f"{', '.join(cards) or 'nothing'}; {', '.join(variables)}; CUDA {look['cuda']}"
    return Row("an experiment sees its card alone", seen, is_it)


def _busy(busy: GpuReading, before: int, pid: int) -> Row:
    users = {process.pid for process in busy.processes}
    whose = "its own" if pid in users else "pids of the host, or none, as in a container"
    load = "unknown" if busy.utilization is None else f"{busy.utilization:.0%}"
    return Row(
        "NVML sees it on that card",
        f"{busy.used / GIB:.2f} GiB in use by {len(users)} processes ({whose}), "
        f"utilisation {load}, {busy.power or 0:.0f} W",
        busy.used >= before + HELD,
    )


def _without(machine: Machine, found: GpuInventory) -> Iterator[Row]:
    del found
    key = machine.submit(scripts.LOOK, NO_CARD)
    machine.outcome(key)
    cards = saw(machine.told(key, "SAW"))["cards"]
    yield Row("one that asks for no card sees", str(cards) if cards else "none", not cards)


def _greedy(machine: Machine, found: GpuInventory) -> Iterator[Row]:
    del found
    script = scripts.GREEDY_WITH_TORCH if machine.has_torch else scripts.GREEDY
    outcome = machine.outcome(machine.submit(script, NEEDS))
    yield Row(
        "one that takes more memory than there is ends with",
        f"`{outcome['cause']}`: {outcome['detail']}",
        outcome["cause"] == Cause.GPU_OUT_OF_MEMORY,
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


if __name__ == "__main__":
    sys.exit(main())
