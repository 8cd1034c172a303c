"""Bodies that end as their server said, and the files that a store's TLS is made of."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from urllib3.exceptions import ProtocolError

from runner.errors import Misconfigured
from runner.stores.remote import wires
from runner.stores.remote.wires import Answer
from runner.wires import Wire, close
from tests.servers.terse import HEAD, Server, cut_when


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    """Return a pool."""
    made = wires.pool("http://127.0.0.1")
    yield made
    close(made)


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


def test_files_that_make_no_tls_are_named(tmp_path: Path) -> None:
    """The operator named them, and hears which option it is."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(Misconfigured, match=f"--s3-ca {junk}"):
        wires.tls(ca=junk)
    with pytest.raises(Misconfigured, match=r"--s3-cert .* with --s3-key"):
        wires.tls(certificate=junk, key=tmp_path / "none.pem")
