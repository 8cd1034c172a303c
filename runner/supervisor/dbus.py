"""The words of D-Bus that asking systemd for a scope takes, as bytes. Pure.

A library for it would cost the start of every experiment more than the question does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CALL, _RETURN, _ERROR = 1, 2, 3
#: Codes of header fields.
_PATH, _INTERFACE, _MEMBER, _DESTINATION, _SIGNATURE = 1, 2, 3, 6, 8
_FIXED = 16
_END_OF_LINE = b"\r\n"


class Body:
    """A message's content while it grows: every value begins at a multiple of its size."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        """Fill up to the next multiple of ``size``."""
        self.data += bytes(-len(self.data) % size)

    def number(self, value: int, size: int = 4) -> None:
        """Add an unsigned number of ``size`` bytes."""
        self.align(size)
        self.data += value.to_bytes(size, "little")

    def text(self, text: bytes) -> None:
        """Add a string or a path."""
        self.number(len(text))
        self.data += text + b"\0"

    def signature(self, types: bytes) -> None:
        """Add the types of what follows."""
        self.data += bytes([len(types)]) + types + b"\0"

    def array(self, alignment: int, fill: Callable[[], None]) -> None:
        """Add an array whose elements ``fill`` adds; their alignment does not count as content."""
        self.number(0)
        place = len(self.data)
        self.align(alignment)
        start = len(self.data)
        fill()
        self.data[place - 4 : place] = (len(self.data) - start).to_bytes(4, "little")


def greeting(uid: int) -> bytes:
    """Say who we are, which the socket's other end knows already, and that messages follow."""
    name = str(uid).encode().hex().encode()
    return b"\0AUTH EXTERNAL " + name + _END_OF_LINE + b"BEGIN" + _END_OF_LINE


def start_scope(unit: bytes, slice_name: bytes, pid: int, patience: float) -> bytes:
    """Ask systemd to move ``pid`` into a new scope, which it ends within ``patience`` seconds."""
    body = Body()
    body.text(unit)
    body.text(b"fail")  # there is none of that name; if there were, it would not be ours
    body.array(8, lambda: _properties(body, slice_name, pid, patience))
    body.array(8, lambda: None)  # no further units
    return _call(b"StartTransientUnit", b"ssa(sv)a(sa(sv))", bytes(body.data))


def _properties(body: Body, slice_name: bytes, pid: int, patience: float) -> None:
    properties: list[tuple[bytes, bytes, Callable[[], None]]] = [
        (b"Description", b"s", lambda: body.text(b"An experiment of studio-runner")),
        (b"Slice", b"s", lambda: body.text(slice_name)),
        (b"PIDs", b"au", lambda: body.array(4, lambda: body.number(pid))),
        # Systemd leaves the inside to us: one process out of memory does not end the others.
        (b"Delegate", b"b", lambda: body.number(1)),
        # A scope that failed would stay in the list of units for ever.
        (b"CollectMode", b"s", lambda: body.text(b"inactive-or-failed")),
        (b"TimeoutStopUSec", b"t", lambda: body.number(int(patience * 1e6), 8)),
    ]
    for name, types, add in properties:
        body.align(8)
        body.text(name)
        body.signature(types)
        add()


def _call(member: bytes, types: bytes, content: bytes) -> bytes:
    message = Body()
    message.data += bytes([ord("l"), _CALL, 0, 1])  # little end first, no flags, version 1
    message.number(len(content))
    message.number(1)  # the only call of this connection
    message.array(8, lambda: _fields(message, member, types))
    message.align(8)
    return bytes(message.data) + content


def _fields(message: Body, member: bytes, types: bytes) -> None:
    for code, kind, value in (
        (_PATH, b"o", b"/org/freedesktop/systemd1"),
        (_INTERFACE, b"s", b"org.freedesktop.systemd1.Manager"),
        (_MEMBER, b"s", member),
        (_DESTINATION, b"s", b"org.freedesktop.systemd1"),
    ):
        _field(message, code, kind)
        message.text(value)
    _field(message, _SIGNATURE, b"g")
    message.signature(types)


def _field(message: Body, code: int, kind: bytes) -> None:
    message.align(8)
    message.data.append(code)
    message.signature(kind)


class Refused(Exception):
    """The other end said no; the text is its reason."""


def answered(received: bytes) -> bool:
    """Tell whether what has been received holds the answer to our call. Raises Refused."""
    line, end, rest = received.partition(_END_OF_LINE)
    if end and not line.startswith(b"OK"):
        raise Refused(_shown(line))
    while len(rest) >= _FIXED:
        order: _Order = "little" if rest[:1] == b"l" else "big"
        fields = int.from_bytes(rest[12:16], order)
        start = _FIXED + fields + -fields % 8
        end_of_body = start + int.from_bytes(rest[4:8], order)
        if len(rest) < end_of_body:
            return False
        if rest[1] == _ERROR:
            length = int.from_bytes(rest[start : start + 4], order)
            raise Refused(_shown(rest[start + 4 : start + 4 + length]))
        if rest[1] == _RETURN:
            return True
        rest = rest[end_of_body:]
    return False


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


if TYPE_CHECKING:
    from typing import Literal

    _Order = Literal["little", "big"]
