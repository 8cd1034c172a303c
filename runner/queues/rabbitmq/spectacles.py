"""Reads past what the AMQP library cannot read in other people's messages.

Whoever writes a timestamp in milliseconds, or a header's name in another encoding, has written what
the library takes for a broken connection: it would end, with all that is held over it, and meet
the same message on the next one. So the properties of each message are tried first, and those that
cannot be read are replaced by none. The body is left as it is.
"""

from __future__ import annotations

import asyncio
import struct

import pamqp.frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

_CONTENT_HEADER = 2
_HEAD = struct.Struct(">BHI")
_BODY_SIZE = struct.Struct(">HHQ")


class Spectacles:
    """The part of ``asyncio.StreamReader`` that the library uses, one frame at a time."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._ready = b""

    def at_eof(self) -> bool:
        """Tell whether nothing more will come."""
        return not self._ready and self._reader.at_eof()

    async def read(self, number: int = -1) -> bytes:
        """Read what follows, as it is."""
        return await self._reader.read(number)

    async def readexactly(self, number: int) -> bytes:
        """Read, a message's properties only after they were tried."""
        if not self._ready:
            begin = await self._reader.readexactly(number)
            if number != 1 or begin[0] != _CONTENT_HEADER:
                return begin
            self._ready = legible(await self._frame(begin))
        data, self._ready = self._ready[:number], self._ready[number:]
        return data

    async def _frame(self, begin: bytes) -> bytes:
        head = begin + await self._reader.readexactly(_HEAD.size - len(begin))
        length = _HEAD.unpack(head)[2]
        return head + await self._reader.readexactly(length + 1)


def legible(frame: bytes) -> bytes:
    """Return a content header as it is, or with no properties but that it is to be kept."""
    try:
        pamqp.frame.unmarshal(frame)
    except Exception:  # noqa: BLE001 - whatever it is, the library would give up on it
        channel = _HEAD.unpack_from(frame)[1]
        size = _BODY_SIZE.unpack_from(frame, _HEAD.size)[2]
        plain = ContentHeader(body_size=size, properties=Basic.Properties(delivery_mode=2))
        return pamqp.frame.marshal(plain, channel)
    return frame
