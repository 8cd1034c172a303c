"""Which cards an experiment gets. Pure, and the same whatever the order of what is free.

One card: the smallest that suffices, by memory where memory is asked for and else by slots, so that
a large one stays free for who needs it. Several: of one kind where that can be had, then as near
to each other as can be (the largest distance between two of them counts first, then the sum), then
the smallest. Where experiments share cards, one that their group shares already comes before one
that nobody uses. Then whoever has the fewest near neighbours that are free: pairs stay together for
who needs two. The UUID decides what is left.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from runner.lifecycle.gpus.sets import nearest
from runner.model import Allocation, Bytes, Gpu, Needs

#: Memory, slots and nearness are compared one after the other as parts of one number.
_NEARNESS_BITS, _SIZE_BITS = 16, 64


class Sharing(enum.StrEnum):
    """Whose experiments may share a card. Values are those of ``--gpu-sharing``."""

    OFF = "off"
    QUEUE = "queue"
    PROJECT = "project"


def grouped(needs: Needs, sharing: Sharing, *, queue: str, project: str) -> Needs:
    """Return the needs with the group that may share its cards; ``queue``: its whole address.

    An experiment without a project is in the group of its queue.
    """
    group = {Sharing.OFF: "", Sharing.QUEUE: queue, Sharing.PROJECT: project or queue}[sharing]
    return replace(needs, gpu_group=group) if needs.gpu_count else needs


def choose_gpus(needs: Needs, gpus: Sequence[Gpu]) -> tuple[Gpu, ...] | None:
    """Choose among what is free; ``None`` when it is not enough."""
    if not needs.gpu_count:
        return ()
    fitting = suitable(needs, gpus)
    if len(fitting) < needs.gpu_count:
        return None
    if len(fitting) == 1:
        return tuple(fitting)
    costs = _costs(needs, fitting, gpus)
    ranked = sorted(fitting, key=lambda gpu: (costs[gpu.uuid], gpu.uuid))
    if needs.gpu_count == 1:
        return (ranked[0],)
    return nearest(_pools(ranked, needs.gpu_count), needs.gpu_count, costs)


def suitable(needs: Needs, gpus: Iterable[Gpu]) -> list[Gpu]:
    """Return the cards that suffice, each by itself.

    A set holds no MIG instance: a CUDA process sees one of those, and no card beside it.
    """
    group = needs.gpu_group if needs.shares_cards else ""
    slots = max(1, needs.gpu_slots) if group else needs.gpu_slots
    return [
        gpu
        for gpu in gpus
        if gpu.slots >= slots
        and gpu.memory >= needs.gpu_memory
        and (not gpu.group or gpu.group == group)
        and not (gpu.parent and needs.gpu_count > 1)
    ]


def take_gpus(needs: Needs, gpus: Sequence[Gpu]) -> tuple[Gpu, ...] | None:
    """Return what is left of the free cards after the needs took theirs; ``None``: they cannot."""
    chosen = choose_gpus(needs, gpus)
    if chosen is None:
        return None
    share = Allocation.of(needs, chosen)
    rests = (_rest(gpu, share) if gpu.uuid in share.gpus else gpu for gpu in gpus)
    return tuple(gpu for gpu in rests if gpu is not None)


def _rest(gpu: Gpu, share: Allocation) -> Gpu | None:
    slots, memory = gpu.slots - share.gpu_slots, Bytes(gpu.memory - share.gpu_memory)
    if not share.gpu_group or slots <= 0 or memory <= 0:
        return None
    return replace(gpu, memory=memory, slots=slots, group=share.gpu_group)


def _pools(ranked: Sequence[Gpu], count: int) -> list[list[Gpu]]:
    """Return the cards of each kind of which there are enough; all together where there is none.

    A set of unlike cards is as fast as its slowest.
    """
    kinds: defaultdict[str, list[Gpu]] = defaultdict(list)
    for gpu in ranked:
        kinds[gpu.name].append(gpu)
    return [kind for kind in kinds.values() if len(kind) >= count] or [list(ranked)]


def _costs(needs: Needs, fitting: Sequence[Gpu], free: Sequence[Gpu]) -> dict[str, int]:
    """Return what giving each card away costs; the costs of a set are the sum."""
    there = {gpu.uuid for gpu in free}
    is_shared, by_memory = needs.shares_cards, needs.gpu_memory > 0
    costs = {}
    for gpu in fitting:
        first, second = (gpu.memory, gpu.slots) if by_memory else (gpu.slots, gpu.memory)
        is_fresh = is_shared and not gpu.group
        cost = (((is_fresh << _SIZE_BITS) + first) << _SIZE_BITS) + second
        near = sum(max(0, Gpu.FAR - hops) for uuid, hops in gpu.links if uuid in there)
        costs[gpu.uuid] = (cost << _NEARNESS_BITS) + near
    return costs
