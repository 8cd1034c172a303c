"""``resources_needed``: what an experiment asks of a machine (protocol section 2.5)."""

from __future__ import annotations

from runner.model import Bytes, Needs
from runner.request.fields import Fields


def decode_needs(experiment: Fields) -> Needs:
    """Return what is asked for, with a warning for each statement that is missing."""
    fields = experiment.child("resources_needed")
    slots, memory, count = _cards(fields)
    return Needs(
        cores=_cores(fields),
        memory=_stated(fields, "ram"),
        disk=_stated(fields, "hdd"),
        gpu_slots=slots,
        gpu_memory=memory,
        gpu_count=count,
    )


def _cards(fields: Fields) -> tuple[int, Bytes, int]:
    """Return slots and memory of each card, and how many cards.

    ``gpus`` says whether there is to be any: 0 is none, and more with a ``gpuCount`` of 0 is one.
    Clients send their configured ``gpuMem`` and ``gpuCount`` along with ``gpus`` 0. Where it is
    left out, either of the two asks for a card.
    """
    slots, memory = fields.whole("gpus"), fields.size("gpuMem") or Bytes(0)
    count = fields.whole("gpuCount")
    is_stated = fields.raw("gpus") not in (None, "")
    if slots or not is_stated:
        return slots, memory, max(count, 1 if slots or memory else 0)
    for name, value in (("gpuMem", memory), ("gpuCount", count)):
        if value:
            fields.warn(name, "is given though gpus is 0, which asks for no GPU: it means nothing")
    return 0, Bytes(0), 0


def _cores(fields: Fields) -> int:
    cores = fields.whole("cpus", default=1)
    if cores == 0:
        fields.warn("cpus", "is 0: one core is given, nothing runs on none")
    return max(cores, 1)


def _stated(fields: Fields, name: str) -> Bytes:
    size = fields.size(name)
    if size is None:
        fields.warn(name, "is missing: nothing is reserved for it; write a size such as 3gb")
    return size or Bytes(0)
