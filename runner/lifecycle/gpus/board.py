"""The cards as a person wants to see them: what each is, how it does, who has which part of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runner.lifecycle.board import Entry
from runner.model import Allocation, Bytes, Gpu
from runner.resources.base import GpuInventory, GpuReading

Item = dict[str, Any]
_SILENT = GpuReading()


def rows(
    total: Iterable[Gpu],
    free: Iterable[Gpu],
    entries: Iterable[Entry],
    withheld: Mapping[str, str],
    seen: GpuInventory,
) -> list[Item]:
    """Return an object for each card of ``total``, with what is free of it and who has the rest."""
    left = {gpu.uuid: gpu for gpu in free}
    holders: dict[str, list[Item]] = {}
    for entry in entries:
        for uuid in entry.record.allocation.gpus:
            holders.setdefault(uuid, []).append(_holder(entry))
    return [
        {
            **card(gpu, seen.readings.get(gpu.uuid, _SILENT)),
            "free_slots": _slots(left.get(gpu.uuid)),
            "free_memory": _memory(left.get(gpu.uuid)),
            "held_by": holders.get(gpu.uuid, []),
            "withheld": withheld.get(gpu.uuid, ""),
        }
        for gpu in total
    ]


def card(gpu: Gpu, reading: GpuReading) -> Item:
    """Return what a card is and says of itself."""
    return {
        "uuid": gpu.uuid,
        "name": gpu.name,
        "parent": gpu.parent,
        "memory": gpu.memory,
        "slots": gpu.slots,
        "used": reading.used,
        "utilization": reading.utilization,
        "temperature": reading.temperature,
        "power": reading.power,
    }


def _holder(entry: Entry) -> Item:
    record = entry.record
    return {
        "key": record.key,
        "queue": record.message.queue,
        "phase": entry.phase,
        **_share(record.allocation),
    }


def _share(allocation: Allocation) -> Item:
    """Tell how much of each card, where it is shared."""
    if not allocation.gpu_group:
        return {}
    return {"slots": allocation.gpu_slots, "memory": allocation.gpu_memory}


def _slots(free: Gpu | None) -> int:
    return free.slots if free else 0


def _memory(free: Gpu | None) -> Bytes:
    return free.memory if free else Bytes(0)
