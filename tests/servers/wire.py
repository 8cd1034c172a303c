"""HTTP/1.1 as bytes on a socket: heads and bodies, read and written without a second thought."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

PIECE = 1 << 16
#: Of one connection only; whoever passes messages on decides these anew.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "upgrade", "expect"})


@dataclass(frozen=True)
class Head:
    """The first line of a request or an answer, and its headers in their order."""

    line: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> list[str]:
        """Return method, target and version; or version, status and reason."""
        return self.line.split(" ", 2)

    @property
    def status(self) -> int:
        """Return the status of an answer."""
        return int(self.words[1])

    def get(self, name: str) -> str:
        """Return the value of a header; empty when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def with_headers(self, **values: str | None) -> Head:
        """Replace headers (``content_length`` is ``Content-Length``); ``None`` takes one away."""
        named = {name.replace("_", "-"): value for name, value in values.items()}
        kept = tuple(one for one in self.headers if one[0].lower() not in named)
        new = tuple((name.title(), value) for name, value in named.items() if value is not None)
        return replace(self, headers=kept + new)

    def end_to_end(self) -> Head:
        """Leave out what is meant for the next hop alone."""
        kept = tuple(one for one in self.headers if one[0].lower() not in _HOP_BY_HOP)
        return replace(self, headers=kept)

    @property
    def is_chunked(self) -> bool:
        """Tell whether the body comes in chunks."""
        return "chunked" in self.get("transfer-encoding").lower()

    def encoded(self) -> bytes:
        """Return it as it goes over the wire."""
        lines = [self.line, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def read_head(reader: BinaryIO) -> Head | None:
    """Read a head; ``None`` when the connection ended before one. Raises ValueError."""
    line = reader.readline()
    if not line.strip():
        return None
    if b"HTTP/" not in line:
        raise ValueError(f"this is no HTTP: {line[:80]!r}")
    headers = []
    while (field := reader.readline()).strip():
        name, _, value = field.decode("latin-1").partition(":")
        headers.append((name.strip(), value.strip()))
    return Head(line.decode("latin-1").strip(), tuple(headers))


def has_body(method: str, status: int) -> bool:
    """Tell whether an answer to this method has a body at all."""
    return method != "HEAD" and status >= 200 and status not in {204, 304}


def request_body(reader: BinaryIO, head: Head) -> Iterator[bytes]:
    """Yield the body of a request; without a length it has none."""
    if head.is_chunked:
        return _chunks(reader)
    return _counted(reader, int(head.get("content-length") or 0))


def answer_body(reader: BinaryIO, head: Head, method: str) -> Iterator[bytes]:
    """Yield the body of an answer; without a length it ends with the connection."""
    if not has_body(method, head.status):
        return iter(())
    if head.is_chunked:
        return _chunks(reader)
    length = head.get("content-length")
    return _counted(reader, int(length)) if length else iter(lambda: _some(reader, PIECE), b"")


def written(pieces: Iterable[bytes], *, chunked: bool) -> Iterator[bytes]:
    """Yield a body as it goes over the wire."""
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


def _some(reader: BinaryIO, most: int) -> bytes:
    return reader.read1(most)  # type: ignore[attr-defined,no-any-return]  # what makefile gives has it


def _counted(reader: BinaryIO, left: int) -> Iterator[bytes]:
    while left and (piece := _some(reader, min(left, PIECE))):
        left -= len(piece)
        yield piece
    if left:
        raise ConnectionResetError(f"{left} bytes of the body did not come")


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    while size := int(reader.readline().partition(b";")[0] or b"0", 16):
        yield from _counted(reader, size)
        reader.readline()
    while reader.readline().strip():  # trailers
        pass
