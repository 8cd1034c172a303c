"""May this experiment start here, now or ever? Pure; the ledger does the counting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runner.lifecycle.gpus.choice import choose_gpus, suitable
from runner.model import NOTHING, Allocation, Capacity, Needs
from runner.request.units import format_size
from runner.resources.base import GpuReserve

__all__ = ["Fits", "Later", "Never", "Verdict", "choose_gpus", "decide"]


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


def decide(
    needs: Needs,
    free: Capacity,
    total: Capacity,
    *,
    reserve: GpuReserve = GpuReserve(),  # noqa: B008 - frozen
    withheld: Mapping[str, str] = NOTHING,
) -> Verdict:
    """Compare what is asked with what is free, then with what there is in all.

    Experiments without a card leave the ``reserve`` for cards; while the cards are in use one may
    fit that does not on an idle machine. ``withheld`` says why some of the cards of ``total`` are
    given to nobody now.
    """
    if needs.gpu_count and total.why_no_gpus:
        return Never(f"it needs {_cards(needs)}, and here are none: {total.why_no_gpus}")
    lacking_now = _lacking(needs, free, reserve)
    if not lacking_now:
        return Fits(Allocation.of(needs, choose_gpus(needs, free.gpus) or ()))
    lacking = _lacking(needs, total, reserve)
    if lacking:
        return Never(f"it needs {lacking} at most on this machine")
    return Later(f"it needs {lacking_now} free now" + _reasons(needs, total, withheld))


def _lacking(needs: Needs, there: Capacity, reserve: GpuReserve) -> str:
    """Name the first thing of which there is not enough, ``64 GB of memory, and there are …``."""
    left = there if needs.gpu_count else reserve.beside(there)
    if needs.cores > left.cores:
        kept = _kept(f"{there.cores - left.cores} more", left.cores < there.cores)
        asked = f"{needs.cores} core{'s' if needs.cores > 1 else ''}"
        return f"{asked}, and there are {left.cores}{kept}"
    if needs.memory > left.memory:
        kept = _kept(f"{format_size(there.memory - left.memory)} more", left.memory < there.memory)
        have = format_size(left.memory)
        return f"{format_size(needs.memory)} of memory, and there are {have}{kept}"
    if needs.disk > there.disk:
        return f"{format_size(needs.disk)} of disk, and there are {format_size(there.disk)}"
    if choose_gpus(needs, there.gpus) is None:
        fitting = len(suitable(needs, there.gpus))
        return f"{_cards(needs)}, and there are {fitting} such{_instances(needs, there)}"
    return ""


def _kept(what: str, is_kept: bool) -> str:  # noqa: FBT001 - private, and read at a glance
    return f" ({what} are kept for experiments with a GPU)" if is_kept else ""


def _instances(needs: Needs, there: Capacity) -> str:
    is_set = needs.gpu_count > 1
    has_parts = is_set and any(gpu.parent for gpu in there.gpus)
    return " (parts of cards do not count: a program sees one of them)" if has_parts else ""


def _reasons(needs: Needs, total: Capacity, withheld: Mapping[str, str]) -> str:
    """Say which cards would do but are given to nobody, and why."""
    fitting = suitable(needs, total.gpus) if needs.gpu_count else []
    out = [f"{gpu.uuid} ({withheld[gpu.uuid]})" for gpu in fitting if gpu.uuid in withheld]
    return f"; not given out: {', '.join(out)}" if out else ""


def _cards(needs: Needs) -> str:
    text = f"{needs.gpu_count} GPU{'s' if needs.gpu_count > 1 else ''}"
    asked = []
    if needs.gpu_slots:
        asked.append(f"{needs.gpu_slots} slot{'s' if needs.gpu_slots > 1 else ''}")
    if needs.gpu_memory:
        asked.append(f"{format_size(needs.gpu_memory)} of memory")
    return f"{text} with {' and '.join(asked)}" if asked else text
