"""A proxy that stands before a real HTTP server and does to chosen exchanges what networks do.

::

    with Proxy(("127.0.0.1", 8333)) as proxy:
        proxy.inject(Interrupt(at=1 << 20), method="GET", path="/bucket/large")
        ...                      # a client of proxy.url
        assert [one.status for one in proxy.exchanges] == [200, 206]

A client's ``Host`` is passed on as it is: S3 signs it. A ``Location`` at the upstream becomes one
at the proxy. Every connection has a thread, and ``close`` ends them all.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Self, cast

from tests.servers.faults import Fault, Hangup, Reply, Reset
from tests.servers.wire import Head, answer_body, has_body, read_head, request_body, written

_PATIENCE = 60.0
_CONTINUE = 100
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


@dataclass(eq=False)
class Exchange:
    """One request and its answer, as far as they came."""

    method: str
    target: str
    #: As the client wrote it; empty for none.
    range: str
    #: What was done to it.
    fault: Fault | None = None
    #: 0: no answer was given.
    status: int = 0
    #: Bytes of the request's body that reached the upstream.
    sent: int = 0
    #: Bytes of the answer's body that were given to the client.
    given: int = 0
    is_over: bool = False
    #: On the monotonic clock, in seconds.
    begun: float = field(default_factory=time.monotonic)

    @property
    def start(self) -> int:
        """Return the first byte asked for."""
        found = re.match(r"bytes=(\d+)", self.range)
        return int(found[1]) if found else 0


@dataclass(eq=False)
class Rule:
    """Which exchanges a fault befalls: those that fit, from the ``nth`` on, ``times`` of them."""

    fault: Fault
    method: str
    path: re.Pattern[str]
    start: int | None
    nth: int
    times: int | None
    #: How many exchanges fitted so far.
    seen: int = 0
    #: What it has befallen.
    struck: list[Exchange] = field(default_factory=list)

    def takes(self, exchange: Exchange) -> bool:
        """Count, and tell whether it is this one's turn."""
        fits = re.fullmatch(self.method or ".*", exchange.method) and self.path.search(
            exchange.target
        )
        if not fits or self.start not in {None, exchange.start}:
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and len(self.struck) >= self.times):
            return False
        self.struck.append(exchange)
        return True


class Proxy:
    """Passes exchanges on to ``upstream`` (host, port), with the faults that were injected."""

    def __init__(self, upstream: tuple[str, int], *, tls: ssl.SSLContext | None = None) -> None:
        self.exchanges: list[Exchange] = []
        self._upstream = upstream
        self._tls = tls
        self._rules: list[Rule] = []
        self._news = threading.Condition()
        self._lines: dict[_Connection, threading.Thread] = {}
        self._listening: tuple[socket.socket, threading.Thread] | None = None
        self.port = 0
        self.up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def host(self) -> str:
        """Return host and port as clients write them."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Return the address to be used in the place of the upstream's."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    # ------------------------------------------------------------------ what happens to whom

    def inject(
        self,
        fault: Fault,
        *,
        method: str = "",
        path: str = "",
        start: int | None = None,
        nth: int = 1,
        times: int | None = 1,
    ) -> Rule:
        """Let a fault befall exchanges; ``method`` and ``path`` are regular expressions.

        ``path`` is searched for in the target, query included.
        ``start`` is the first byte of a ranged GET. The first rule that fits decides.
        """
        rule = Rule(fault, method, re.compile(path), start, nth, times)
        with self._news:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules, and what was exchanged."""
        with self._news:
            self._rules.clear()
            self.exchanges.clear()

    def down(self) -> None:
        """Refuse new connections and reset those that are open; returns when all have ended."""
        if self._listening is not None:
            listener, thread = self._listening
            self._listening = None
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()
        with self._news:
            lines = dict(self._lines)
        for line in lines:
            line.cut()
        for thread in lines.values():
            thread.join()

    def up(self) -> None:
        """Take connections, at the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=[listener], name="proxy", daemon=True)
        self._listening = listener, thread
        thread.start()

    # ------------------------------------------------------------------ what was seen

    def wait_for(
        self, found: Callable[[list[Exchange]], bool], patience: float = _PATIENCE
    ) -> None:
        """Wait until what was exchanged so far is what ``found`` waits for."""
        with self._news:
            if not self._news.wait_for(lambda: found(self.exchanges), patience):
                raise AssertionError(f"not seen in {patience} s: {self.exchanges}")

    def wait_for_fault(self, rule: Rule, times: int = 1, patience: float = _PATIENCE) -> None:
        """Wait until a rule has befallen so many exchanges."""
        self.wait_for(lambda _: len(rule.struck) >= times, patience)

    def asked(self, method: str = "", path: str = "") -> list[Exchange]:
        """Return the exchanges of a method whose target has ``path`` in it, oldest first."""
        with self._news:
            return [
                one
                for one in self.exchanges
                if method in {"", one.method} and re.search(path, one.target)
            ]

    # ------------------------------------------------------------------ the connections' side

    def note(self, exchange: Exchange) -> Fault:
        """Remember an exchange that begins and return what is to befall it."""
        with self._news:
            rule = next((rule for rule in self._rules if rule.takes(exchange)), None)
            exchange.fault = rule.fault if rule else None
            self.exchanges.append(exchange)
            self._news.notify_all()
        return exchange.fault or Fault()

    def tell(self) -> None:
        """Wake who waits: something has changed."""
        with self._news:
            self._news.notify_all()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            connection = _Connection(self, accepted, self._upstream, self._tls)
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            with self._news:
                self._lines[connection] = thread
            thread.start()

    def _serve(self, connection: _Connection) -> None:
        try:
            connection.run()
        finally:
            with self._news:
                self._lines.pop(connection, None)


class _Connection:
    """A client's connection, and one to the upstream for every exchange on it."""

    def __init__(
        self,
        proxy: Proxy,
        accepted: socket.socket,
        upstream: tuple[str, int],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._proxy = proxy
        self._socket = accepted
        self._upstream = upstream
        self._tls = tls
        self._waiting_for: set[socket.socket] = set()

    def run(self) -> None:
        """Serve until one of the two ends it."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                self._socket = self._tls.wrap_socket(self._socket, server_side=True)
            with self._socket.makefile("rb") as reader:
                while self._exchange(reader):
                    pass
        except Reset:
            self._linger_not()
        except (Hangup, OSError, ValueError):
            pass
        finally:
            self._socket.close()

    def cut(self) -> None:
        """End it, from another thread."""
        with contextlib.suppress(OSError):
            self._linger_not()
            self._socket.shutdown(socket.SHUT_RDWR)
        for upstream in list(self._waiting_for):
            with contextlib.suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Return only when the client is gone or the proxy ends."""
        poll = select.poll()
        poll.register(self._socket.fileno(), _GONE)
        poll.poll()

    def _linger_not(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _exchange(self, reader: BinaryIO) -> bool:
        head = read_head(reader)
        if head is None:
            return False
        method, target, _ = head.words
        exchange = Exchange(method, target, head.get("range"))
        fault = self._proxy.note(exchange)
        try:
            if "100-continue" in head.get("expect"):
                self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = fault.request(request_body(reader, head), self)
            fault.before()
            reply = fault.instead()
            if reply is None:
                return self._ask(head, body, fault, exchange)
            for _ in body:
                pass
            return self._give(reply, exchange)
        finally:
            exchange.is_over = True
            self._proxy.tell()

    def _ask(self, head: Head, body: Iterable[bytes], fault: Fault, exchange: Exchange) -> bool:
        with socket.create_connection(self._upstream, _PATIENCE) as upstream:
            self._waiting_for.add(upstream)
            try:
                asked = head.end_to_end().with_headers(connection="close")
                upstream.sendall(asked.encoded())
                self._pass_on(upstream, body, head, exchange)
                with upstream.makefile("rb") as answers:
                    reply = self._reply(cast("BinaryIO", answers), exchange)
                    return self._give(fault.answer(reply, self), exchange)
            finally:
                self._waiting_for.discard(upstream)

    @staticmethod
    def _pass_on(
        upstream: socket.socket, body: Iterable[bytes], head: Head, exchange: Exchange
    ) -> None:
        """Send a body; an upstream that has answered before its end takes no more of it."""
        is_taking = True
        for piece in written(body, chunked=head.is_chunked):
            try:
                if is_taking:
                    upstream.sendall(piece)
                    exchange.sent += len(piece)
            except ConnectionError:
                is_taking = False

    def _reply(self, answers: BinaryIO, exchange: Exchange) -> Reply:
        head = read_head(answers)
        while head is not None and head.status == _CONTINUE:
            head = read_head(answers)
        if head is None:
            raise Reset
        body = answer_body(answers, head, exchange.method)
        head = head.end_to_end()
        if location := head.get("location"):
            upstream = "http://{}:{}".format(*self._upstream)
            head = head.with_headers(location=location.replace(upstream, self._proxy.url))
        return Reply(head, body)

    def _give(self, reply: Reply, exchange: Exchange) -> bool:
        """Answer; tell whether the connection can be used again."""
        head = reply.head
        exchange.status = head.status
        self._socket.sendall(head.encoded())
        if not has_body(exchange.method, head.status):
            return True
        for piece in written(reply.body, chunked=head.is_chunked):
            self._socket.sendall(piece)
            exchange.given += len(piece)
        return head.is_chunked or bool(head.get("content-length"))
