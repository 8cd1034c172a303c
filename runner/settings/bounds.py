"""Options about what keeps a run to the share of the machine that it was given."""

from __future__ import annotations

from typing import ClassVar

from runner.settings import kinds
from runner.settings.option import group, option


@group
class BoundOptions:
    """What an experiment does not get beyond what it asked for."""

    GROUP: ClassVar = "Bounds"

    enforce: str = option(
        kinds.choice("auto", "cgroup", "measure", "off", metavar="HOW"),
        "auto",
        "how runs are kept to their memory, cores and processes; auto: by control groups where "
        "they work, else by measuring",
    )
    pids_limit: int = option(
        kinds.COUNT, "4096", "processes and threads of one experiment at most; 0 means any number"
    )
    hard_cores: bool = option(
        kinds.FLAG,
        "true",
        "keep experiments to their cores even while others are idle; takes control groups",
    )
