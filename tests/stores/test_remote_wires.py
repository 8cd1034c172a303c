"""Connections that another thread cuts, and bodies that end as their server said."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from runner.blocking import Interrupted
from runner.errors import Misconfigured
from runner.stores.remote import wires
from runner.stores.remote.wires import Answer, Wire

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


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    """Return a pool."""
    made = wires.pool("http://127.0.0.1")
    yield made
    made.clear()


def test_an_answer_that_does_not_come_is_not_waited_for(pool: urllib3.PoolManager) -> None:
    """The thread was waiting for the head of the answer."""
    with (
        Server() as server,
        Wire() as wire,
        cut_when(server.reached, wire),
        pytest.raises((HTTPError, Interrupted)),
    ):
        pool.urlopen("GET", server.url, preload_content=False)


def test_a_body_that_does_not_come_is_not_waited_for(pool: urllib3.PoolManager) -> None:
    """The thread was reading, and has got what came before."""
    half = threading.Event()
    with (
        Server(lambda connection: connection.sendall(HEAD % 10 + b"half")) as server,
        Wire() as wire,
    ):
        answer = Answer(pool.urlopen("GET", server.url, preload_content=False))
        buffer = memoryview(bytearray(4))
        assert answer.readinto(buffer) == 4
        half.set()
        with cut_when(half, wire), pytest.raises(ProtocolError):
            answer.readinto(buffer)
        answer.close()


def test_a_body_that_is_not_taken_is_not_waited_for(pool: urllib3.PoolManager) -> None:
    """The thread was sending, and the server reads no more."""
    with (
        Server() as server,
        Wire() as wire,
        cut_when(server.reached, wire),
        pytest.raises((HTTPError, Interrupted)),
    ):
        pool.urlopen("PUT", server.url, body=bytes(64 << 20), preload_content=False)


def test_a_host_that_does_not_answer_is_not_waited_for(pool: urllib3.PoolManager) -> None:
    """The thread was connecting; who connects for it closes what comes of it."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        begun = threading.Event()
        port = full.getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        timer = threading.Timer(0.05, begun.set)
        timer.start()
        with Wire() as wire, cut_when(begun, wire), pytest.raises(Interrupted):
            pool.urlopen("GET", url, timeout=urllib3.Timeout(connect=1.0), preload_content=False)
        timer.join()


def test_nothing_is_sent_once_the_wire_is_cut(pool: urllib3.PoolManager) -> None:
    """A request that comes too late does not reach the server."""
    with Server() as server, Wire() as wire:
        wire.cut()
        with pytest.raises(Interrupted):
            pool.urlopen("GET", server.url, preload_content=False)
        assert not server.reached.is_set()


def test_a_connection_that_was_given_back_is_nobodys(pool: urllib3.PoolManager) -> None:
    """Cutting a wire whose call is over disturbs no other call."""
    with Server(lambda connection: connection.sendall(HEAD % 2 + b"ok")) as server:
        with Wire() as wire:
            answer = Answer(pool.urlopen("GET", server.url, preload_content=False))
            assert answer.readinto(memoryview(bytearray(2))) == 2
            answer.close()
            wire.release()
        wire.cut()
        assert pool.urlopen("GET", server.url).data == b"ok"


@pytest.mark.parametrize(
    "answer",
    [HEAD % 10 + b"half", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"],
    ids=["length", "chunked"],
)
def test_a_body_that_ends_early_is_an_error(pool: urllib3.PoolManager, answer: bytes) -> None:
    """A truncated body with a good status is not taken for all of it."""

    def say(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    with Server(say) as server:
        body = Answer(pool.urlopen("GET", server.url, preload_content=False))
        buffer = memoryview(bytearray(100))
        with pytest.raises(ProtocolError):
            list(iter(lambda: body.readinto(buffer), 0))
        body.close()


def test_an_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines behind one say so in the environment, and what is near goes without it."""
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    monkeypatch.setenv("no_proxy", "near.lan")
    assert isinstance(wires.pool("https://s3.example.com"), urllib3.ProxyManager)
    assert not isinstance(wires.pool("https://near.lan"), urllib3.ProxyManager)


def test_files_that_make_no_tls_are_named(tmp_path: Path) -> None:
    """The operator named them, and hears which option it is."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(Misconfigured, match=f"--s3-ca {junk}"):
        wires.tls(ca=junk)
    with pytest.raises(Misconfigured, match=r"--s3-cert .* with --s3-key"):
        wires.tls(certificate=junk, key=tmp_path / "none.pem")
