"""Whose program is at the other end of a connection within this machine.

Experiments reach the listener, too, and are other people's code: as another user where the daemon
is root, else as the daemon's own. On loopback the kernel says which user made a connection, and of
root we need no token.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runner import blocking

_LIMIT = blocking.Limit(1)
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
#: Of any other state the table may give uid 0 although nobody has the socket any more.
_ESTABLISHED = "01"
_ROOT = 0

Address = tuple[str, int]


@dataclass(eq=False)
class Peer:
    """The other end of one connection; ``None``: an address is not known."""

    here: Address | None
    there: Address | None
    tables: Iterable[Path] = _TABLES
    _is_trusted: bool | None = field(default=None)

    async def is_trusted(self) -> bool:
        """Tell whether root made it; what is not known is not trusted."""
        if self._is_trusted is None:
            uid = await blocking.call(lambda _: self._owner(), limit=_LIMIT)
            self._is_trusted = uid == _ROOT
        return self._is_trusted

    def _owner(self) -> int | None:
        if self.here is None or self.there is None:
            return None
        here, there = set(_written(self.here)), set(_written(self.there))
        for table in self.tables:
            for fields in _rows(table):
                if fields[1] in there and fields[2] in here and fields[3] == _ESTABLISHED:
                    return int(fields[7])
        return None


def _rows(table: Path) -> Iterator[list[str]]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # a kernel without IPv6
        return
    yield from (line.split() for line in lines)


def _written(address: Address) -> Iterator[str]:
    """Write an address as the tables do: words in the machine's order, an IPv4 one mapped, too."""
    host, port = address
    host = host.partition("%")[0]
    if ":" in host:
        yield f"{_words(socket.inet_pton(socket.AF_INET6, host))}:{port:04X}"
        return
    packed = socket.inet_pton(socket.AF_INET, host)
    yield f"{_words(packed)}:{port:04X}"
    yield f"{_words(bytes(10) + bytes([255, 255]) + packed)}:{port:04X}"


def _words(packed: bytes) -> str:
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
