"""Accepts connections, few at a time: the newest always gets in, whoever dawdles goes first."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup

from runner.errors import Misconfigured
from runner.log import get_logger
from runner.redaction import Secret
from runner.settings.listening import Listen
from runner.web.guard import Policy
from runner.web.limits import Limits
from runner.web.message import Answer, Request
from runner.web.peers import Peer
from runner.web.site import Site

_log = get_logger(__name__)
#: Before the next try to accept when there are no descriptors left.
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Address(Listen):
    """Where somebody listens; as ``Listener.addresses`` tells it."""

    @property
    def is_local(self) -> bool:
        """Only this machine reaches it."""
        return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback


@dataclass(eq=False)
class _Client:
    """One connection."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Listener:
    """Listens from ``open`` to ``close``; open it where ``serve`` is to be started at once."""

    def __init__(
        self,
        site: Site,
        *,
        token: Secret | None = None,
        hosts: frozenset[str] = frozenset(),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        most: int = 64,
    ) -> None:
        """``hosts``: names it may be called by. ``most``: connections at a time."""
        self._site = site
        self._token = token or Secret()
        self._hosts = hosts
        self._limits = limits
        self._most = most
        self._listeners: Sequence[SocketListener] = ()
        self._policy = Policy(is_local=True)
        self._clients: set[_Client] = set()
        #: Those that owe us a request, the one that has done so for longest first.
        self._waiting: dict[_Client, None] = {}

    async def open(self, host: str, port: int) -> Self:
        """Bind and listen; ``host`` empty: all addresses, ``port`` 0: one that is free.

        Raises Misconfigured, naming the address and a remedy.
        """
        try:
            opened = await anyio.create_tcp_listener(local_host=host or None, local_port=port)
        except OSError as error:
            raise Misconfigured(_trouble(host, port, error)) from error
        self._listeners = opened.listeners  # type: ignore[assignment]  # those of TCP are such
        self._policy = Policy(
            is_local=all(address.is_local for address in self.addresses),
            token=self._token,
            hosts=self._hosts,
        )
        return self

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        bound = (
            one.extra(SocketAttribute.local_address)  # noqa: S610 - no Django here
            for one in self._listeners
        )
        return tuple(Address(*address[:2]) for address in bound if isinstance(address, tuple))

    @property
    def is_local(self) -> bool:
        """Only this machine reaches it."""
        return self._policy.is_local

    @property
    def connections(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    async def serve(self) -> None:
        """Answer until cancelled."""
        async with anyio.create_task_group() as clients:
            for listener in self._listeners:
                clients.start_soon(self._accept, listener, clients)

    async def close(self) -> None:
        """Listen no more."""
        for listener in self._listeners:
            await listener.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()

    async def _accept(self, listener: SocketListener, clients: TaskGroup) -> None:
        while True:
            try:
                stream = await listener.accept()
            except (anyio.BrokenResourceError, OSError) as error:  # out of descriptors, most likely
                _log.warning("a client of the web listener could not be let in", why=str(error))
                await anyio.sleep(_PAUSE)
                continue
            clients.start_soon(self._converse, stream)

    async def _converse(self, stream: SocketStream) -> None:
        # The parser takes 10 ms to import: the first client waits for it, the start does not.
        from runner.web.connection import Connection  # noqa: PLC0415

        client = _Client()
        async with stream:
            if not self._make_room():
                return
            self._clients.add(client)

            def waits(does: bool) -> None:  # noqa: FBT001 - the one thing that is told
                self._waiting.pop(client, None)
                if does:
                    self._waiting[client] = None

            try:
                with client.scope:
                    await Connection(
                        stream, self._answer, self._limits, peer=_peer(stream), waits=waits
                    ).serve()
            finally:
                self._clients.discard(client)
                self._waiting.pop(client, None)

    async def _answer(self, request: Request) -> Answer:
        return await self._site.answer(request, self._policy)

    def _make_room(self) -> bool:
        """Drop who has owed a request for longest; False while all are being answered."""
        if len(self._clients) < self._most:
            return True
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        del self._waiting[oldest]
        self._clients.discard(oldest)
        oldest.scope.cancel()
        return True


def _peer(stream: SocketStream) -> Peer:
    return Peer(
        _end(stream, SocketAttribute.local_address), _end(stream, SocketAttribute.remote_address)
    )


def _end(stream: SocketStream, which: Any) -> tuple[str, int] | None:
    address = stream.extra(which, None)  # noqa: S610 - no Django here
    return (address[0], address[1]) if isinstance(address, tuple) else None


def _trouble(host: str, port: int, error: OSError) -> str:
    where = f"--listen {Listen(host, port)}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where}: port {port} is taken by another program, a second daemon perhaps; choose "
            f"another port, or 0 for one that is free, or switch it off with --listen ''"
        )
    if error.errno == errno.EACCES:
        return f"{where}: this user may not listen on port {port}; choose one above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: {host or 'it'} is no address of this machine; 127.0.0.1 always is"
    return f"{where}: {error.strerror or error}"
