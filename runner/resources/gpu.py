"""The cards of this machine, asked for by another process: a hung driver call cannot be ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import anyio

from runner import log
from runner.resources import container, gpu_slots
from runner.resources.base import GpuInventory, GpuProbe, GpuReading
from runner.resources.gpu_visibility import visible
from runner.resources.nvml import capabilities
from runner.resources.nvml.answer import Answer, Slots, read
from runner.resources.nvml.interview import Interview, NoAnswer
from runner.resources.nvml.known import Known, Place

_log = log.get_logger(__name__)

#: Waking a sleeping driver takes seconds on machines with many cards.
TIMEOUT = 30.0
_SCRIPT = Path(__file__).parent / "nvml" / "main.py"


class NvmlProbe(GpuProbe):
    """Asks the NVIDIA driver; ``variables`` say which of its cards may be given out.

    A card that was seen once stays in every inventory: when it does not answer, or the driver is
    gone, its reading says so. When nothing at all is answered, the inventory is empty and says why.

    Xids are told once, to whoever looks next; looks that wait for the same answer share it.
    """

    def __init__(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        python: str = sys.executable,
        slots: Slots = gpu_slots.slots,
        mig_minors: Path = capabilities.FILE,
    ) -> None:
        """``timeout``: seconds for the driver to answer, after which its process is killed.

        ``mig_minors``: where the driver lists what opens MIG instances.
        """
        self._variables = os.environ if variables is None else variables
        self._slots = slots
        self._mig_minors = mig_minors
        command = [python, "-I", "-S", str(_SCRIPT), *_directory_of_pynvml()]
        self._interview = Interview(command, self._variables, timeout=timeout)
        self._known = Known()
        self._lock = anyio.Lock()
        self._last = GpuInventory(why_none="nobody has looked yet")
        self._begun = self._ended = 0
        self._unanswering: set[int] = set()

    async def look(self) -> GpuInventory:
        """Take the inventory, in the order in which the driver counts the cards."""
        arrived = self._begun
        async with self._lock:
            if self._ended > arrived:  # one that waited with us has asked since
                return self._last
            self._begun += 1
            begun = self._begun
            self._last, self._ended = await self._look(), begun
            return self._last

    async def aclose(self) -> None:
        """End the process, also in the middle of a look."""
        await self._interview.aclose()

    async def _look(self) -> GpuInventory:
        try:
            said = await self._interview.ask()
            answer = read(said, self._slots, capabilities.listed(self._mig_minors))
        except NoAnswer as error:
            return GpuInventory(why_none=str(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            await self._interview.end()
            return GpuInventory(why_none=f"the GPU inventory cannot be read: {error!r}")
        self._known.take(answer)
        self._tell_of_unanswering()
        return self._inventory(answer)

    def _inventory(self, answer: Answer) -> GpuInventory:
        gpus = list(self._known.gpus())
        if not any(gpus):
            return GpuInventory(why_none=answer.error or _why_none(self._known.places))
        aliases: dict[str, str] = {}
        readings: dict[str, GpuReading] = {}
        for place in self._known.places:
            aliases |= place.aliases
            readings |= place.readings
        found = visible(
            gpus,
            self._variables,
            in_container=container.inside(self._variables),
            aliases=aliases,
        )
        return replace(
            found,
            readings={gpu.uuid: readings[gpu.uuid] for gpu in found.gpus},
            driver=answer.driver or self._last.driver,
            cuda=answer.cuda or self._last.cuda,
        )

    def _tell_of_unanswering(self) -> None:
        """Log cards that have never answered: nothing else can be said of them."""
        for index, place in enumerate(self._known.places):
            if place.uuid:
                self._unanswering.discard(index)
            elif index not in self._unanswering:
                self._unanswering.add(index)
                _log.warning("a GPU does not answer and is left out", index=index, why=place.lost)


def _directory_of_pynvml() -> Iterator[str]:
    """The process is started without the installed packages, and needs this one."""
    found = find_spec("pynvml")
    if found is not None and found.origin:
        yield str(Path(found.origin).parent)


def _why_none(places: list[Place]) -> str:
    """Say why there is nothing to give, though the driver answers."""
    if not places:
        return "the NVIDIA driver knows of no card"
    return "; ".join(
        f"card {index} does not answer: {place.lost}"
        if place.lost
        else f"card {index} is in MIG mode and has no instances: make some (nvidia-smi mig -cgi)"
        for index, place in enumerate(places)
    )
