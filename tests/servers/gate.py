"""A door for TCP connections to a real server: it can be shut, held still, or cut through."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from typing import Self

from tests.servers.process import free_ports

_PIECE = 1 << 16


class Gate:
    """Passes bytes on from ``port`` to the server's, both on 127.0.0.1, in a thread of its own."""

    def __init__(self, upstream: int) -> None:
        (self.port,) = free_ports(1)
        self._upstream = upstream
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        #: Each end of a connection, with the other one.
        self._others: dict[socket.socket, socket.socket] = {}
        self._listener: socket.socket | None = None
        self._is_still = False
        self._wake, self._waker = os.pipe()
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="gate")
        #: Connections that were accepted, ever.
        self.accepted = 0

    def __enter__(self) -> Self:
        self._selector.register(self._wake, selectors.EVENT_READ)
        self.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        os.write(self._waker, b".")
        self._thread.join()
        self.shut()
        self._selector.close()
        os.close(self._wake)
        os.close(self._waker)

    def open(self) -> None:
        """Accept connections."""
        with self._lock:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._selector.register(self._listener, selectors.EVENT_READ)

    def shut(self) -> None:
        """Refuse connections, and end those that are there."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
            self.cut()

    def cut(self) -> None:
        """End the connections that are there."""
        with self._lock:
            for end in tuple(self._others):
                self._drop(end)

    def freeze(self) -> None:
        """Let nothing through: connections stay, and new ones are made, but nobody answers."""
        with self._lock:
            self._is_still = True
            for end in self._others:
                self._selector.unregister(end)

    def thaw(self) -> None:
        """Let everything through again."""
        with self._lock:
            self._is_still = False
            for end in self._others:
                self._selector.register(end, selectors.EVENT_READ)
        os.write(self._waker, b".")

    def _serve(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select():
                with self._lock:
                    self._attend(key.fileobj)

    def _attend(self, ready: object) -> None:
        if ready == self._wake:
            os.read(self._wake, 1)
        elif ready is self._listener and self._listener is not None:
            self._join(self._listener.accept()[0])
        elif isinstance(ready, socket.socket) and ready in self._others and not self._is_still:
            self._pass_on(ready)

    def _join(self, client: socket.socket) -> None:
        self.accepted += 1
        server = socket.create_connection(("127.0.0.1", self._upstream))
        self._others |= {client: server, server: client}
        if not self._is_still:
            self._selector.register(client, selectors.EVENT_READ)
            self._selector.register(server, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            data = source.recv(_PIECE)
            if data:
                self._others[source].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(source)

    def _drop(self, end: socket.socket) -> None:
        other = self._others.pop(end, None)
        if other is None:
            return
        self._others.pop(other)
        for one in (end, other):
            with contextlib.suppress(KeyError):
                self._selector.unregister(one)
            one.close()
