"""What an experiment printed, read out of its stored output in bounded memory."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from runner.client.output_part import in_pieces, output_in
from runner.client.shop import BROKEN, Shop
from runner.client.values import Gathered, Series, series

#: Bytes of an output that are kept beside its numbers: a sweep has a thousand of them.
KEPT = 1 << 18


@dataclass(frozen=True)
class Told:
    """What the JSON lines of an output add up to, and the output itself where it is short."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: ``None``: it is longer than ``KEPT``.
    text: str | None = ""


def place(key: str) -> str:
    """Return the name of the object that an experiment's output is in."""
    return f"experiments/{key}/output.tar"


def text(shop: Shop, key: str) -> str:
    """Return all of a stored output, however long; empty where nothing was stored yet."""
    return (
        shop.read(place(key), lambda stream: b"".join(pieces(stream)).decode(errors="replace"))
        or ""
    )


def read(stream: BinaryIO) -> Told:
    """Read an ``output.tar``; of one that is none, or broken, what could be read."""
    gathered, kept, size = Gathered(), bytearray(), 0
    for piece in pieces(stream):
        gathered.feed(piece)
        size += len(piece)
        if size <= KEPT:
            kept += piece
    return Told(gathered.document(), kept.decode("utf-8", "replace") if size <= KEPT else None)


def series_in(name: str, beside: Sequence[str], stream: BinaryIO) -> Series:
    """Return each number of that path in an ``output.tar``, as ``values.series`` does."""
    return series(pieces(stream), name, beside)


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the output that an archive holds, a piece at a time; nothing where it holds none."""
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            content = output_in(archive)
            if content is not None:
                yield from in_pieces(content)
    except BROKEN:
        return
