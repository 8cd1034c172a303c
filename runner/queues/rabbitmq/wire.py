"""One AMQP connection from its login to its end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import anyio
from aiormq.connection import Connection, TransportFactory
from aiormq.exceptions import InvalidFrameError
from yarl import URL

from runner.errors import QueueDenied, QueueUnavailable
from runner.queues.rabbitmq.account import Account
from runner.queues.rabbitmq.boundary import translated
from runner.queues.rabbitmq.channel import Channel
from runner.queues.rabbitmq.spectacles import Spectacles

#: Channels that the protocol can number; brokers allow fewer.
_MOST_CHANNELS = 65_535
_CLOSING = 5.0


class _Transport(TransportFactory):
    """Opens the socket, and keeps it at hand: one that hangs can only be cut off."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect. Raises OSError."""
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        return cast("asyncio.StreamReader", Spectacles(reader)), self._writer

    def cut(self) -> None:
        """Drop the connection without a word: the other side does not listen any more."""
        if self._writer is not None:
            self._writer.transport.abort()


class Wire:
    """An open connection; ``connected`` makes it. Used on the engine's loop alone."""

    def __init__(
        self,
        connection: Connection,
        transport: _Transport,
        *,
        timeout: float,
        spawn: Callable[[Callable[[], Any]], None],
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._timeout = timeout
        self._spawn = spawn
        self._channels: set[Channel] = set()
        self._is_condemned = False
        self._is_retired = False

    @property
    def is_open(self) -> bool:
        """Tell whether channels can be had."""
        return not (self._is_condemned or self._is_retired or self._connection.is_closed)

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is held over it any more."""
        return self._connection.is_closed

    @property
    def is_blocked(self) -> bool:
        """Tell whether the broker reads nothing of us for want of memory or disk."""
        probe = self._connection.ready()
        try:
            probe.send(None)
        except StopIteration:
            return False
        else:
            probe.close()
            return True

    async def open(self) -> Channel:
        """Return a new channel. Raises QueueUnavailable."""
        number = self._free_number()
        with translated("no channel"), anyio.move_on_after(self._timeout):
            opened = await self._connection.channel(number, frame_buffer_size=0)
            channel = Channel(opened, self, timeout=self._timeout)
            self._channels.add(channel)
            return channel
        self.condemn()
        raise QueueUnavailable(f"no channel: no answer in {self._timeout:g} s")

    def condemn(self) -> None:
        """Give up on a connection that does not answer; the broker gives back what it held.

        One that is blocked says so, and goes on one day.
        """
        if self._is_condemned or self.is_blocked:
            return
        self._is_condemned = True
        self._transport.cut()
        self._spawn(self.close)

    def retire(self) -> None:
        """Open nothing more, and close as soon as nothing is held over it."""
        self._is_retired = True
        for channel in tuple(self._channels):
            channel.retire()
        self._close_when_unused()

    async def close(self) -> None:
        """End the connection: what is held over it goes back to its queues. Never raises."""
        with anyio.move_on_after(_CLOSING, shield=True) as bound:
            try:
                with translated("the connection cannot be closed"):
                    await self._connection.close()
            except QueueUnavailable:
                pass  # then it has ended already
        if bound.cancelled_caught:
            self._transport.cut()

    def _free_number(self) -> int:
        """Return the lowest number, always: the library's own choice only ever grows."""
        most = self._connection.connection_tune.channel_max or _MOST_CHANNELS
        taken = self._connection.channels
        for number in range(1, most + 1):
            if number not in taken:
                return number
        raise QueueUnavailable(
            f"the broker allows {most} channels on a connection, one for each queue and message "
            "that is held: raise its channel_max, or take fewer queues with --queue-match"
        )

    def forget(self, channel: Channel) -> None:
        """Count a channel no more."""
        self._channels.discard(channel)
        self._close_when_unused()

    def _close_when_unused(self) -> None:
        if self._is_retired and not self._channels and not self._connection.is_closed:
            self._spawn(self.close)


async def connected(
    account: Account, name: str, *, patience: float, spawn: Callable[[Callable[[], Any]], None]
) -> Wire:
    """Log in. Raises QueueUnavailable, QueueDenied."""
    what = f"{account.server} cannot be reached"
    context = account.tls() if account.is_secure else None
    transport = _Transport(context)
    connection = Connection(
        account.url(), transport_factory=transport, client_properties={"connection_name": name}
    )
    # The URL cannot carry every name of a virtual host through the library unchanged.
    connection.vhost = account.virtual_host
    try:
        with translated(what), anyio.move_on_after(patience):
            await connection.connect()
            await connection.connected.wait()
            return Wire(connection, transport, timeout=patience, spawn=spawn)
    except QueueUnavailable as error:
        if not (isinstance(error, QueueDenied) or _is_shown_out(error)):
            raise
        raise QueueDenied(
            f"{account.server} refuses the user {account.user!r}: look at the password, and "
            f"whether this user may use the virtual host {account.virtual_host!r} ({error})"
        ) from error
    transport.cut()
    raise QueueUnavailable(f"{what}: no answer in {patience:g} s")


def _is_shown_out(error: QueueUnavailable) -> bool:
    """Tell whether the broker closed the connection in answer to our naming a virtual host.

    The library keeps to itself what the broker said then.
    """
    cause = error.__cause__
    return isinstance(cause, InvalidFrameError) and "Connection.Close" in str(cause)
