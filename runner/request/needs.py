"""``resources_needed``: what an experiment asks of a machine (protocol section 2.5)."""

from __future__ import annotations

from runner.model import Bytes, Needs
from runner.request.fields import Fields


def decode_needs(experiment: Fields) -> Needs:
    """Return what is asked for, with a warning for each statement that is missing."""
    fields = experiment.child("resources_needed")
    slots, memory = fields.whole("gpus"), fields.size("gpuMem") or Bytes(0)
    count = fields.whole("gpuCount")
    if count == 0 and (slots or (memory and fields.raw("gpus") is None)):
        count = 1
    if count == 0 and memory:
        # Clients send their configured gpuMem along with gpus 0: that asks for no card.
        fields.warn("gpuMem", "is given though no GPU is asked for: it means nothing")
        memory = Bytes(0)
    return Needs(
        cores=_cores(fields),
        memory=_stated(fields, "ram"),
        disk=_stated(fields, "hdd"),
        gpu_slots=slots,
        gpu_memory=memory,
        gpu_count=count,
    )


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
