"""Options about what this machine gives to experiments."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from runner.model import Bytes
from runner.settings import kinds
from runner.settings.kinds import DiskFloor
from runner.settings.option import group, option


@group
class MachineOptions:
    """Upper bounds on what experiments get; the runner's own needs come on top."""

    GROUP: ClassVar = "The machine"

    cpu_only: bool = option(
        kinds.FLAG, "false", "give out no GPU, and take no experiment that asks for one"
    )
    max_cores: int = option(
        kinds.COUNT, "0", "cores given to experiments at most; 0 means all that the daemon may use"
    )
    max_mem: Bytes = option(
        kinds.SIZE, "0gb", "memory given to experiments at most; 0 means all but a margin"
    )
    max_disk: Bytes = option(
        kinds.SIZE, "0gb", "disk given to experiments at most; 0 means 85 % of what is free"
    )
    min_free_disk: DiskFloor = option(
        kinds.FLOOR,
        "5%,5gib",
        "nothing is claimed while less than this is free on the disk of the working directory",
    )
    lock_dir: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "directory of the locks that keep two runners from giving out the same cores and cards; "
        "empty means one for the whole machine",
    )
