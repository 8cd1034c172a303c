"""The cards of this machine, asked for by another process: a hung driver call cannot be ended."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio
from anyio.abc import Process

from runner.model import Bytes, Gpu
from runner.resources.base import GpuInventory, GpuProbe
from runner.resources.gpu_slots import slots
from runner.resources.gpu_visibility import visible

#: Waking a sleeping driver takes seconds on machines with many cards.
TIMEOUT = 30.0
#: For a killed process to be gone; one that hangs in the kernel is left to it.
_REAPING = 2.0
_QUERY = Path(__file__).with_name("nvml_query.py")


class NoGpuProbe(GpuProbe):
    """For machines whose cards, if any, are not to be given out."""

    async def look(self) -> GpuInventory:
        """Find nothing, at once."""
        return GpuInventory(
            why_none="GPUs are not given out: --cpu-only or --gpu-probe none is set"
        )

    async def aclose(self) -> None:
        """Nothing was opened."""


class NvmlProbe(GpuProbe):
    """Asks the NVIDIA driver; ``variables`` say which of its cards may be given out."""

    def __init__(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        python: str = sys.executable,
    ) -> None:
        self._variables = os.environ if variables is None else variables
        self._timeout = timeout
        self._python = python

    async def look(self) -> GpuInventory:
        """Take the inventory, in the order in which the driver counts the cards."""
        try:
            answer = await self._ask()
            found: dict[str, Any] = json.loads(answer) if answer else {"error": self._silence()}
            gpus = [None if card is None else _gpu(card) for card in found.get("gpus", [])]
            return self._inventory(gpus, found.get("error", ""))
        except (OSError, ValueError, KeyError, TypeError) as error:
            return GpuInventory(why_none=f"the GPU inventory failed: {error}")

    async def aclose(self) -> None:
        """Each look ends what it started."""

    def _inventory(self, gpus: Sequence[Gpu | None], error: str) -> GpuInventory:
        if not any(gpus):
            return GpuInventory(why_none=error or "the NVIDIA driver knows of no card")
        return visible(gpus, self._variables)

    def _silence(self) -> str:
        return f"the NVIDIA driver gave no answer in {self._timeout:g} s"

    async def _ask(self) -> bytes:
        """Run the query and return what it printed; nothing when it died or took too long."""
        command = [self._python, "-I", str(_QUERY)]
        process = await anyio.open_process(
            command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=dict(self._variables)
        )
        try:
            with anyio.move_on_after(self._timeout):
                printed = await _all_of(process)
                return printed if await process.wait() == 0 else b""
            return b""
        finally:
            await _end(process)


async def _all_of(process: Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    return b"".join([chunk async for chunk in process.stdout])


async def _end(process: Process) -> None:
    """Kill what still runs and wait for it, but never for longer than a moment."""
    with anyio.move_on_after(_REAPING, shield=True):
        if process.returncode is None:
            process.kill()
        await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()


def _gpu(card: dict[str, Any]) -> Gpu:
    name, memory = str(card["name"]), Bytes(int(card["memory"]))
    return Gpu(uuid=str(card["uuid"]), name=name, memory=memory, slots=slots(name, memory))
