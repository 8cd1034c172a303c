"""What an archive says it contains, one member after the other; nothing here touches the disk."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import BinaryIO

from runner.model import Bytes, Span

ZERO = Bytes(0)
#: Seconds since the epoch: no file system has a later time, and archives may have any.
LATEST = 1 << 40
#: As much of a name from a message as an error shows.
_SHOWN = 100


class Kind(enum.Enum):
    """The members that can be unpacked."""

    DIRECTORY = enum.auto()
    FILE = enum.auto()
    SYMLINK = enum.auto()
    #: Another name of an earlier member.
    HARDLINK = enum.auto()


@dataclass(frozen=True, slots=True)
class Member:
    """One entry, as its author wrote it: names are not checked yet."""

    name: str
    kind: Kind
    #: Permission bits; may hold set-user-id and the like.
    mode: int
    #: Nanoseconds since the epoch.
    mtime: int
    #: Of files, with their holes.
    size: Bytes = ZERO
    #: Of links.
    target: str = ""
    #: Of files with holes: where the bytes of ``content`` belong, in their order.
    spans: tuple[Span, ...] | None = None
    #: Of files, to be read before the next member is asked for.
    content: BinaryIO | None = None


def shown(name: str) -> str:
    """Write a name from an archive so that a log line stays one readable line."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
