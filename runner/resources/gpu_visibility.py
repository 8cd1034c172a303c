"""Which cards the daemon may give out when its own environment names some (protocol 6.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.model import Gpu
from runner.resources.base import GpuInventory

VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_NONE = frozenset({"none", "void", "nodevfiles", "-1"})


def visible(gpus: Sequence[Gpu | None], variables: Mapping[str, str]) -> GpuInventory:
    """Keep the cards that the first variable which is set names, in its order.

    ``gpus`` come in the driver's order, which is what indexes count; ``None`` is one that does not
    answer. Cards are named by index, by UUID or by the beginning of one. ``all`` is all of them; a
    set but empty variable hides all, as it does from CUDA itself.
    """
    variable = next((name for name in VARIABLES if name in variables), None)
    if variable is None:
        return GpuInventory(tuple(filter(None, gpus)))
    value = variables[variable]
    chosen = _chosen(gpus, [word.strip() for word in value.split(",")])
    if chosen:
        return GpuInventory(chosen)
    return GpuInventory(
        why_none=f"{variable} is {value!r}, which names none of this machine's {len(gpus)} cards: "
        "unset it, or name cards by index or UUID"
    )


def _chosen(gpus: Sequence[Gpu | None], words: Sequence[str]) -> tuple[Gpu, ...]:
    found: dict[str, Gpu] = {}
    for word in words:
        if word.lower() in _NONE:
            break  # to CUDA everything after such an entry is hidden
        found |= {gpu.uuid: gpu for gpu in _named(gpus, word) if gpu}
    return tuple(found.values())


def _named(gpus: Sequence[Gpu | None], word: str) -> Sequence[Gpu | None]:
    if word.lower() == "all":
        return gpus
    if word.isascii() and word.isdigit():
        return gpus[int(word) : int(word) + 1]
    matching = [gpu for gpu in gpus if gpu and word and gpu.uuid.startswith(word)]
    return matching if len(matching) == 1 else []
