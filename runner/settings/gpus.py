"""Options about the cards of this machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from runner.model import Bytes
from runner.settings import kinds
from runner.settings.option import group, option


@group
class GpuOptions:
    """Which cards are given out, to whom, and when one is not."""

    GROUP: ClassVar = "GPUs"

    gpu_probe: str = option(
        kinds.choice("auto", "nvml", "none"),
        "auto",
        "how cards are found; auto asks NVML where it is installed",
    )
    require_gpus: int = option(
        kinds.COUNT, "0", "stop at the start when fewer cards than this can be given out"
    )
    reserve_cores_per_gpu: int = option(
        kinds.COUNT,
        "0",
        "cores that experiments without a GPU leave free for each card that is not in use",
    )
    reserve_mem_per_gpu: Bytes = option(
        kinds.SIZE, "0gb", "memory that they leave free for each such card"
    )
    gpu_slots_file: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "file that says how many slots cards have, a line for each: slots, then a part of the name",
    )
    gpu_sharing: str = option(
        kinds.choice("off", "queue", "project"),
        "off",
        "whether experiments of one queue, or of one project, share a card by slots and memory",
    )
    gpu_noise: Bytes = option(
        kinds.SIZE, "512mib", "memory in foreign use up to which a card still counts as free"
    )
    gpu_look: timedelta = option(
        kinds.DURATION, "10s", "time between two looks at the health of the cards"
    )
    idle_gpu: timedelta = option(
        kinds.DURATION,
        "0s",
        "time without any use of its cards and without output after which an experiment is named "
        "idle; 0 means never",
    )
    end_idle: bool = option(kinds.FLAG, "false", "end experiments that are idle")
    staged: int = option(
        kinds.COUNT,
        "1",
        "experiments that are claimed, fetched and built while the cards they need are still busy",
    )
    staging_time: timedelta = option(
        kinds.DURATION,
        "30m",
        "longest time that such an experiment waits for its cards before it goes back",
    )
