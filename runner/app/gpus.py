"""The cards of this machine: how they are found, and whether they are enough to start."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from runner.errors import Misconfigured
from runner.model import Capacity, Gpu
from runner.resources import PROBES
from runner.resources.base import GpuInventory, GpuProbe, GpuReserve
from runner.resources.gpu_slots import SlotTable
from runner.resources.gpu_visibility import VARIABLES
from runner.resources.machine_lock import Shared, existing_directory, left
from runner.settings import Settings

_LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards that a daemon gives out, or why it gives out none."""

    shared: Shared
    #: One sentence; empty where there are cards.
    why_none: str = ""
    #: The operator wants none to be given out, and need not be told.
    is_choice: bool = False
    #: Why a daemon does not start with these; empty where it does.
    complaint: str = ""

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The cards."""
        return self.shared.gpus


def check(settings: Settings) -> None:
    """Find what is wrong with the options about cards, looking at none. Raises Misconfigured."""
    unwanted = _unwanted(settings)
    if unwanted and settings.require_gpus:
        raise Misconfigured(
            f"--require-gpus {settings.require_gpus} and {unwanted} contradict each other: "
            "take one of them away"
        )
    _table(settings)


def probe_of(settings: Settings, environ: Mapping[str, str]) -> GpuProbe:
    """Return what finds the cards; it is the caller's to close. Raises Misconfigured.

    ``environ`` is that of the daemon, which may name the cards that are its own.
    """
    check(settings)
    if unwanted := _unwanted(settings):
        return _none(f"{unwanted} is set")
    if settings.gpu_probe == "auto" and not _has_driver():
        return _none(f"no NVIDIA driver is installed ({_LIBRARY} is not found)")
    ours = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    named = {name: environ[name] for name in VARIABLES if name in environ}
    probe: GpuProbe = PROBES.load("nvml")(variables=ours | named, slots=_table(settings))
    return probe


async def look(settings: Settings, environ: Mapping[str, str]) -> tuple[GpuInventory, Cards]:
    """Return what is there and what a daemon would be given now, and take nothing.

    Raises Misconfigured.
    """
    async with aclosing(probe_of(settings, environ)) as probe:
        found = await probe.look()
    directory = settings.lock_dir or existing_directory()
    return found, cards(settings, found, left(directory, settings.state_dir, found.gpus))


def cards(settings: Settings, found: GpuInventory, shared: Shared) -> Cards:
    """Return what is left of the cards that were found, and whether that is enough."""
    why = found.why_none
    if not why and not shared.gpus:
        why = f"other runners give out all of them: {'; '.join(shared.sentences)}"
    complaint = found.misnamed
    if not complaint and len(shared.gpus) < settings.require_gpus:
        complaint = _too_few(settings.require_gpus, found, shared, why)
    return Cards(shared, why, bool(_unwanted(settings)), complaint)


def counted(total: Capacity) -> str:
    """Say which cards are given out, ``2 GPUs (2 NVIDIA L4)``, or why there are none."""
    number = len(total.gpus)
    if not number:
        return f"no GPUs: {total.why_no_gpus}"
    kinds = Counter(gpu.name for gpu in total.gpus)
    named = ", ".join(f"{times} {name}" for name, times in kinds.items())
    return f"{number} GPU{'s' if number > 1 else ''} ({named})"


def reserve_of(settings: Settings) -> GpuReserve:
    """Return what is kept free of experiments without a card."""
    return GpuReserve(settings.reserve_cores_per_gpu, settings.reserve_mem_per_gpu)


def described(gpu: Gpu) -> str:
    """Name a card for a person: ``NVIDIA L4 GPU-…``."""
    return f"{gpu.name} {gpu.uuid}"


def _table(settings: Settings) -> SlotTable:
    """Return how many slots cards have. Raises Misconfigured."""
    path = settings.gpu_slots_file
    return SlotTable() if path is None else SlotTable.read(path)


def _none(why: str) -> GpuProbe:
    probe: GpuProbe = PROBES.load("none")(why)
    return probe


def _unwanted(settings: Settings) -> str:
    """Return the option by which the operator wants no card to be given out."""
    if settings.cpu_only:
        return "--cpu-only"
    return "--gpu-probe none" if settings.gpu_probe == "none" else ""


def _has_driver() -> bool:
    """Asking NVML takes a process of its own; a machine without the library is spared it."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def _too_few(required: int, found: GpuInventory, shared: Shared, why: str) -> str:
    names = ", ".join(map(described, shared.gpus))
    reasons = [f"only {names}", *shared.sentences] if names else [why]
    driver = f" (driver {found.driver})" if found.driver else ""
    return (
        f"--require-gpus is {required}, and {len(shared.gpus)} can be given out here{driver}: "
        f"{'; '.join(reasons)}. Mend that, or ask for fewer"
    )
