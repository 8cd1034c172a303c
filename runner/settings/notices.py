"""Options about the machine's being taken away, and about what a sick machine still takes."""

from __future__ import annotations

from typing import ClassVar

from runner.settings import kinds
from runner.settings.option import group, option


@group
class NoticeOptions:
    """When the daemon gives back what it has, and takes nothing more."""

    GROUP: ClassVar = "Notices and fuses"

    spot_notices: str = option(
        kinds.choice("auto", "aws", "gcp", "off"),
        "auto",
        "whose metadata service tells that this machine will be taken away; auto goes by what the "
        "firmware says of the machine, and asks nobody where that is no cloud",
    )
    fuse: int = option(
        kinds.COUNT,
        "5",
        "experiments that fail in a row for what may be this machine's fault, after which nothing "
        "is claimed until a probe experiment passes; 0 means never",
    )
