"""A part of a stored output in pieces, and no more of its archive than has to be read for it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from runner.errors import StoreUnavailable
from runner.lifecycle.runs.wanted import Wanted

Take = Callable[[int, Iterator[bytes]], None]
"""Is given where a part of an output begins, in bytes, and its bytes in pieces."""

_PIECE = 1 << 20


def give_part(archive: tarfile.TarFile, wanted: Wanted, take: Take) -> bool:
    """Give a part of the output of an archive whose file can be sought in; ``False``: has none."""
    content = output_in(archive)
    if content is None:
        return False
    start = content.seek(wanted.start(cast("BinaryIO", content)))
    take(start, in_pieces(content))
    return True


def give_all(stream: BinaryIO, take: Take) -> bool:
    """Give the output of an archive that arrives, compressed or not; ``False``: it has none."""
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        content = output_in(archive)
        if content is not None:
            take(0, in_pieces(content))
    return content is not None


def in_pieces(content: IO[bytes]) -> Iterator[bytes]:
    """Yield what is left of a file. Raises StoreUnavailable."""
    while True:
        try:
            piece = content.read(_PIECE)
        except OSError as error:
            raise StoreUnavailable(f"the output cannot be read: {error.strerror}") from error
        if not piece:
            return
        yield piece


def output_in(archive: tarfile.TarFile) -> IO[bytes] | None:
    """Return the file of an archive that is an experiment's output; ``None`` where none is.

    Without its holes, which a program makes as long as it likes, and which nobody can read.
    """
    for member in archive:
        _join(member)
        # A link could lead nowhere.
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None and PurePosixPath(member.name).name == "output":
            return content
    return None


def _join(member: tarfile.TarInfo) -> None:
    """Make a member one without holes, whose data lie side by side in any case."""
    if member.sparse is not None:
        # typeshed has another type
        data = cast("list[tuple[int, int]]", member.sparse)
        member.size = sum(length for _, length in data)
        member.sparse = None
