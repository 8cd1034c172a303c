"""What a proxy can do wrong to one exchange: each fault a value, applied to passing bytes."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tests.servers.wire import Head

NOTHING: Mapping[str, str] = {}


class Side(enum.Enum):
    """Which of the two bodies."""

    REQUEST = "request"
    ANSWER = "answer"


class Line(Protocol):
    """The client's connection, as a fault needs it."""

    def stall(self) -> None:
        """Return only when the client is gone or the proxy ends."""


class Reset(Exception):
    """The connection is to end now, with a reset."""


class Hangup(Exception):
    """The connection is to end now, as if all were said."""


@dataclass(frozen=True)
class Reply:
    """An answer."""

    head: Head
    body: Iterable[bytes]


@dataclass(frozen=True)
class Fault:
    """Passes everything on as it is; the base of all faults, and ``Watch`` in itself."""

    def before(self) -> None:
        """Act before anything of the request is passed on."""

    def instead(self) -> Reply | None:
        """Answer without the upstream."""
        return None

    def request(self, pieces: Iterator[bytes], line: Line) -> Iterator[bytes]:
        """Pass on the request's body."""
        del line
        return pieces

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Pass on the upstream's answer."""
        del line
        return reply


@dataclass(frozen=True)
class Refuse(Fault):
    """Answer with an error and never ask the upstream."""

    status: int = 503
    headers: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    body: bytes = b""

    def instead(self) -> Reply:
        """Say so."""
        length = (("Content-Length", str(len(self.body))),)
        head = Head(f"HTTP/1.1 {self.status} Refused", tuple(self.headers.items()) + length)
        return Reply(head, [self.body])


@dataclass(frozen=True)
class Interrupt(Fault):
    """Reset the connection when ``at`` bytes of a body have passed."""

    at: int = 0
    side: Side = Side.ANSWER

    def request(self, pieces: Iterator[bytes], line: Line) -> Iterator[bytes]:
        """Break off an upload."""
        del line
        return self._broken(pieces) if self.side is Side.REQUEST else pieces

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Break off a download."""
        del line
        if self.side is Side.REQUEST:
            return reply
        return replace(reply, body=self._broken(reply.body))

    def _broken(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        yield from first(pieces, self.at)
        raise Reset


@dataclass(frozen=True)
class LoseAnswer(Fault):
    """Let the upstream do the work, and reset instead of answering."""

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Take the whole answer and give none of it."""
        del line
        for _ in reply.body:
            pass
        raise Reset


@dataclass(frozen=True)
class Truncate(Fault):
    """End an answer's body after ``at`` bytes, its status untouched."""

    at: int = 0
    #: Say the shorter length, so that HTTP itself finds nothing wrong.
    lie: bool = False

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Cut."""
        del line
        if self.lie:
            head = reply.head.with_headers(content_length=str(self.at), transfer_encoding=None)
            return Reply(head, first(reply.body, self.at))
        return replace(reply, body=self._cut(reply.body))

    def _cut(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        yield from first(pieces, self.at)
        raise Hangup


@dataclass(frozen=True)
class Spoil(Fault):
    """Turn round one byte of a body."""

    at: int = 0
    side: Side = Side.ANSWER

    def request(self, pieces: Iterator[bytes], line: Line) -> Iterator[bytes]:
        """Spoil an upload."""
        del line
        return self._spoilt(pieces) if self.side is Side.REQUEST else pieces

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Spoil a download."""
        del line
        if self.side is Side.REQUEST:
            return reply
        return replace(reply, body=self._spoilt(reply.body))

    def _spoilt(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        place = 0
        for piece in pieces:
            here = self.at - place
            place += len(piece)
            if 0 <= here < len(piece):
                yield piece[:here] + bytes([piece[here] ^ 0xFF]) + piece[here + 1 :]
            else:
                yield piece


@dataclass(frozen=True)
class Stall(Fault):
    """Say nothing more after ``at`` bytes of a body, the connection open."""

    at: int = 0
    side: Side = Side.ANSWER

    def request(self, pieces: Iterator[bytes], line: Line) -> Iterator[bytes]:
        """Take no more of an upload."""
        return self._stalled(pieces, line) if self.side is Side.REQUEST else pieces

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Give no more of a download; at 0 bytes not even its head."""
        if self.side is Side.REQUEST:
            return reply
        if not self.at:
            line.stall()
            raise Reset
        return replace(reply, body=self._stalled(reply.body, line))

    def _stalled(self, pieces: Iterable[bytes], line: Line) -> Iterator[bytes]:
        yield from first(pieces, self.at)
        line.stall()
        raise Reset


@dataclass(frozen=True)
class Trickle(Fault):
    """Give an answer in drops of ``size`` bytes, with ``pause`` seconds before each."""

    size: int = 1
    pause: float = 0.05

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Slow down."""
        del line
        return replace(reply, body=self._dripping(reply.body))

    def _dripping(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            for place in range(0, len(piece), self.size):
                time.sleep(self.pause)
                yield piece[place : place + self.size]


@dataclass(frozen=True)
class Alter(Fault):
    """Give an answer other headers: a ``date`` of another day, no ``etag``."""

    headers: Mapping[str, str | None] = field(default_factory=lambda: NOTHING)

    def answer(self, reply: Reply, line: Line) -> Reply:
        """Say something else."""
        del line
        return replace(reply, head=reply.head.with_headers(**self.headers))


@dataclass(frozen=True)
class Meanwhile(Fault):
    """Let something happen elsewhere before the request is passed on: an object is replaced."""

    act: Callable[[], None]

    def before(self) -> None:
        """Act."""
        self.act()


def first(pieces: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Yield the first ``count`` bytes."""
    for piece in pieces:
        yield piece[:count]
        count -= len(piece[:count])
        if not count:
            return


def s3_error(code: str, status: int, message: str = "", **headers: str) -> Refuse:
    """Return a refusal in the words of S3."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>{message or code}</Message><RequestId>1</RequestId></Error>"
    )
    given = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Refuse(status, {"Content-Type": "application/xml", **given}, body.encode())
