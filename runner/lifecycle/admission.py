"""May this experiment start here, now or ever? Pure; the ledger does the counting."""

from __future__ import annotations

from dataclasses import dataclass

from runner.model import Allocation, Capacity, Gpu, Needs
from runner.request.units import format_size


@dataclass(frozen=True, slots=True)
class Fits:
    """There is room for it now."""

    #: What it would get.
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class Later:
    """The machine is large enough, but busy."""

    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """It exceeds what this machine could ever give."""

    reason: str


Verdict = Fits | Later | Never


def decide(needs: Needs, free: Capacity, total: Capacity) -> Verdict:
    """Compare what is asked with what there is in all, then with what is free."""
    lacking = _lacking(needs, total)
    if lacking:
        return Never(f"it needs {lacking} at most on this machine")
    lacking = _lacking(needs, free)
    if lacking:
        return Later(f"it needs {lacking} free now")
    gpus = choose_gpus(needs, free.gpus) or ()
    return Fits(Allocation(needs.cores, needs.memory, needs.disk, tuple(g.uuid for g in gpus)))


def choose_gpus(needs: Needs, gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...] | None:
    """Choose the smallest whole cards that suffice; ``None`` when there are not enough.

    Deterministic: by slots, then memory, then UUID. A large card stays free for who needs it.
    """
    fitting = [gpu for gpu in gpus if _suffices(needs, gpu)]
    if len(fitting) < needs.gpu_count:
        return None
    fitting.sort(key=lambda gpu: (gpu.slots, gpu.memory, gpu.uuid))
    return tuple(fitting[: needs.gpu_count])


def _suffices(needs: Needs, gpu: Gpu) -> bool:
    return gpu.slots >= needs.gpu_slots and gpu.memory >= needs.gpu_memory


def _lacking(needs: Needs, there: Capacity) -> str:
    """Name the first thing of which there is not enough, ``64 GB of memory, and there are …``."""
    if needs.cores > there.cores:
        return f"{needs.cores} cores, and there are {there.cores}"
    if needs.memory > there.memory:
        have = format_size(there.memory)
        return f"{format_size(needs.memory)} of memory, and there are {have}"
    if needs.disk > there.disk:
        return f"{format_size(needs.disk)} of disk, and there are {format_size(there.disk)}"
    if choose_gpus(needs, there.gpus) is None:
        fitting = sum(_suffices(needs, gpu) for gpu in there.gpus)
        return f"{_cards(needs)}, and there are {fitting} such"
    return ""


def _cards(needs: Needs) -> str:
    text = f"{needs.gpu_count} GPU{'s' if needs.gpu_count > 1 else ''}"
    asked = []
    if needs.gpu_slots:
        asked.append(f"{needs.gpu_slots} slot{'s' if needs.gpu_slots > 1 else ''}")
    if needs.gpu_memory:
        asked.append(f"{format_size(needs.gpu_memory)} of memory")
    return f"{text} with {' and '.join(asked)}" if asked else text
