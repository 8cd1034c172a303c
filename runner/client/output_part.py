"""A part of a stored output, and no more of its archive than has to be read for it."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from runner.lifecycle.runs.wanted import Wanted


@dataclass(frozen=True, slots=True)
class OutputPart:
    """What was wanted of an output."""

    #: Where it begins, in bytes.
    start: int
    text: str


def part_in(archive: tarfile.TarFile, wanted: Wanted) -> OutputPart | None:
    """Return a part of the output that an archive holds, whose file can be sought in."""
    content = output_in(archive)
    if content is None:
        return None
    start = content.seek(wanted.start(cast("BinaryIO", content)))
    return OutputPart(start, content.read().decode("utf-8", "replace"))


def text_in(archive: tarfile.TarFile) -> str | None:
    """Return all of the output that an archive holds."""
    content = output_in(archive)
    return None if content is None else content.read().decode("utf-8", "replace")


def output_in(archive: tarfile.TarFile) -> IO[bytes] | None:
    """Return the file of an archive that is an experiment's output; ``None`` where none is."""
    for member in archive:
        # A link could lead nowhere.
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None and PurePosixPath(member.name).name == "output":
            return content
    return None
