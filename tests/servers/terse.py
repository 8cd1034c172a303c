"""A server of bare sockets: it says what it is told to, byte for byte, or nothing at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from runner.wires import Wire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class Server:
    """Accepts connections one after the other, and answers each request as it is told."""

    def __init__(self, answer: Callable[[socket.socket], None] | None = None) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        #: A request has come.
        self.reached = threading.Event()
        self._done = threading.Event()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with suppress(OSError):  # that is how it is ended
            while True:
                self._connection, _ = self._listening.accept()
                with self._connection:
                    while self._connection.recv(1 << 16):
                        self.reached.set()
                        if self._answer is None:
                            self._done.wait()
                        else:
                            self._answer(self._connection)

    @property
    def url(self) -> str:
        """Return the address."""
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for each in (self._listening, self._connection):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()


@contextmanager
def cut_when(reached: threading.Event, wire: Wire) -> Iterator[None]:
    """Cut the wire as soon as something happened."""

    def cut() -> None:
        reached.wait()
        wire.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        thread.join()
