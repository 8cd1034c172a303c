"""How the cards of this machine do, where no daemon can be asked: a look that takes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.app import gpus
from runner.lifecycle.gpus import board as gpu_board
from runner.lifecycle.gpus.health import Past, judge
from runner.model import Gpu
from runner.resources.base import GpuInventory, GpuReading
from runner.settings import Settings

Item = dict[str, Any]


async def survey(
    settings: Settings, environ: Mapping[str, str], runs: Sequence[Mapping[str, Any]]
) -> Item:
    """Return what the verb ``gpus`` of the control socket gives. Raises Misconfigured.

    ``runs`` are those that the last daemon has left, as ``status`` shows them.
    """
    found, cards = await gpus.look(settings, environ)
    elsewhere = {gpu.uuid: f"it is left to {who}" for gpu, who in cards.shared.taken}
    return {
        "driver": found.driver,
        "cuda": found.cuda,
        "gpus": [
            _row(settings, found, gpu, elsewhere.get(gpu.uuid, ""), runs) for gpu in found.gpus
        ],
        "why_no_gpus": cards.complaint or cards.why_none,
    }


def withheld(settings: Settings, found: GpuInventory, gpu: Gpu) -> str:
    """Say why a daemon that starts now would not give out a card; empty where it would."""
    reading = found.readings.get(gpu.uuid)
    if reading is None:
        return ""
    _, why = judge(gpu, reading, Past(), held=False, noise=settings.gpu_noise, now=0.0)
    return why.why if why else ""


def _row(
    settings: Settings,
    found: GpuInventory,
    gpu: Gpu,
    elsewhere: str,
    runs: Sequence[Mapping[str, Any]],
) -> Item:
    holders = [
        {name: run.get(name) for name in ("key", "queue", "phase")}
        for run in runs
        if gpu.uuid in (run.get("gpus") or ())
    ]
    # What an experiment has in use there is no foreign use.
    why = elsewhere or ("" if holders else withheld(settings, found, gpu))
    is_free = not why and not holders
    return {
        **gpu_board.card(gpu, found.readings.get(gpu.uuid, GpuReading())),
        "free_slots": gpu.slots if is_free else 0,
        "free_memory": gpu.memory if is_free else 0,
        "held_by": holders,
        "withheld": why,
    }
