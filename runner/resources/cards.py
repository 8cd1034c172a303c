"""What of each card is free, given who holds which part of it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from runner.model import Allocation, Bytes, Gpu


def free_cards(
    gpus: Iterable[Gpu], held: Iterable[Allocation], hidden: Container[str] = ()
) -> tuple[Gpu, ...]:
    """Return the cards of which something is free, each with that much; ``hidden`` by UUID."""
    shares: defaultdict[str, list[Allocation]] = defaultdict(list)
    for allocation in held:
        for uuid in allocation.gpus:
            shares[uuid].append(allocation)
    left = (rest(gpu, shares.get(gpu.uuid, ())) for gpu in gpus if gpu.uuid not in hidden)
    return tuple(gpu for gpu in left if gpu is not None)


def rest(gpu: Gpu, shares: Sequence[Allocation]) -> Gpu | None:
    """Return what these leave of a card; ``None`` when that is nothing.

    A card that anybody holds whole has no rest, and neither has one that two groups hold: the
    option was changed, and each of them goes on to its end.
    """
    if not shares:
        return gpu
    group = shares[0].gpu_group
    if not group or any(share.gpu_group != group for share in shares):
        return None
    slots = gpu.slots - sum(share.gpu_slots for share in shares)
    memory = Bytes(gpu.memory - sum(share.gpu_memory for share in shares))
    if slots <= 0 or memory <= 0:
        return None
    return replace(gpu, memory=memory, slots=slots, group=group)
