"""Cuts a stream of bytes into lines, in bounded memory however long a line is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Of a line that cannot be JSON no more than this is kept.
MAX_PLAIN = 2**20
#: A line that may be JSON is given up beyond this.
MAX_JSON = 16 * 2**20

_LOOK = 64


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    text: str
    #: How many bytes of it were not kept.
    dropped: int

    @property
    def may_be_json(self) -> bool:
        """Say whether it is whole, and begins and ends as an object or an array does."""
        pair = self.text[:1] + self.text[-1:]
        return not self.dropped and pair in {"{}", "[]"}


class Lines:
    """Collects bytes until a line is complete."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """Take the next bytes and yield the lines that they complete; to be used up at once."""
        first, *others = data.split(b"\n")
        self._keep(first)
        if not others:
            return
        yield self._take()
        last = others.pop()
        for piece in others:
            if len(piece) <= MAX_PLAIN:  # nearly every line there is: whole, and nothing to cut
                yield Line(piece.decode("utf-8", "replace").strip(), 0)
            else:
                self._keep(piece)
                yield self._take()
        self._keep(last)

    def close(self) -> Iterator[Line]:
        """Yield what has no line end yet."""
        if self._kept:
            yield self._take()

    def _keep(self, piece: bytes) -> None:
        head = bytes(self._kept[:_LOOK] or piece[:_LOOK]).lstrip()
        limit = MAX_JSON if head[:1] in {b"{", b"["} else MAX_PLAIN
        room = max(limit - len(self._kept), 0)
        self._kept += piece[:room]
        self._dropped += max(len(piece) - room, 0)

    def _take(self) -> Line:
        kept, dropped = bytes(self._kept), self._dropped
        self._kept.clear()
        self._dropped = 0
        if dropped and len(kept) > MAX_PLAIN:
            kept, dropped = kept[:MAX_PLAIN], dropped + len(kept) - MAX_PLAIN
        return Line(kept.decode("utf-8", "replace").strip(), dropped)
