"""Connections that another thread cuts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from runner import wires
from runner.blocking import Interrupted, Stop
from runner.wires import Wire
from tests.servers.terse import HEAD, Server, cut_when


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    """Return a pool."""
    made = wires.pool("http://127.0.0.1")
    yield made
    wires.close(made)


def test_a_refused_connection_names_its_server(pool: urllib3.PoolManager) -> None:
    """The sentence reaches people: it begins with host and port, and with no class of ours."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(HTTPError) as caught:
            pool.urlopen("GET", f"http://127.0.0.1:{port}/")
    assert str(caught.value).startswith(f"127.0.0.1:{port}: ")


def test_an_answer_that_does_not_come_is_not_waited_for(pool: urllib3.PoolManager) -> None:
    """The thread was waiting for the head of the answer."""
    with (
        Server() as server,
        Wire() as wire,
        cut_when(server.reached, wire),
        pytest.raises((HTTPError, Interrupted)),
    ):
        pool.urlopen("GET", server.url, preload_content=False)


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
            assert pool.urlopen("GET", server.url).data == b"ok"
            wire.release()
        wire.cut()
        assert pool.urlopen("GET", server.url).data == b"ok"


def test_an_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines behind one say so in the environment, and what is near goes without it."""
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    monkeypatch.setenv("no_proxy", "near.lan")
    assert isinstance(wires.pool("https://s3.example.com"), urllib3.ProxyManager)
    assert not isinstance(wires.pool("https://near.lan"), urllib3.ProxyManager)


def test_a_stop_cuts_what_waits(pool: urllib3.PoolManager) -> None:
    """Who is stopped learns from the wire that the broken connection is its own doing."""
    stop = Stop()
    with Server() as server:

        def end() -> None:
            server.reached.wait()
            stop.set()

        stopper = threading.Thread(target=end)
        stopper.start()
        with Wire.of(stop) as wire, pytest.raises((HTTPError, Interrupted)):
            pool.urlopen("GET", server.url, preload_content=False)
        stopper.join()
    assert wire.is_cut


def test_a_stop_that_came_before_lets_nothing_be_sent(pool: urllib3.PoolManager) -> None:
    """The block is entered all the same: what follows in it ends at once."""
    stop = Stop()
    stop.set()
    with Server() as server:
        with Wire.of(stop), pytest.raises(Interrupted):
            pool.urlopen("GET", server.url, preload_content=False)
        assert not server.reached.is_set()


def test_a_pool_that_is_closed_leaves_no_connection() -> None:
    """Not even for the garbage collector: the server sees the end at once."""
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD % 2 + b"ok")
        if not connection.recv(1 << 16):
            ended.set()

    with Server(answer) as server:
        made = wires.pool(server.url)
        kept = made.connection_from_url(server.url)
        assert made.urlopen("GET", server.url).data == b"ok"
        wires.close(made)
        assert ended.wait(60)
    assert kept.pool is None
