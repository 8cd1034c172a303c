"""A part of a stored output, and no more of its archive than has to be read for it."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from runner.lifecycle.runs.wanted import Wanted


@dataclass(frozen=True, slots=True)
class OutputPart:
    """What was wanted of an output."""

    #: Where it begins, in bytes.
    start: int
    text: str


def part_in(archive: tarfile.TarFile, wanted: Wanted) -> OutputPart | None:
    """Return a part of the output that an archive holds, whose file can be sought in."""
    for member in archive:
        # A link could lead nowhere.
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None and Path(member.name).name == "output":
            start = content.seek(wanted.start(cast("BinaryIO", content)))
            return OutputPart(start, content.read().decode("utf-8", "replace"))
    return None
