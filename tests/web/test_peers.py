"""Whose connection it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runner.web.peers import Peer

pytestmark = pytest.mark.anyio

#: Connects, says so, and waits to be told what to do with the connection.
CLIENT = """
import os, socket, sys
family, port, uid = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if uid:
    os.setuid(uid)
connection = socket.socket(family)
connection.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
print("connected", flush=True)
for word in sys.stdin:
    connection.shutdown(socket.SHUT_WR) if word == "half\\n" else connection.close()
    print("done", flush=True)
"""
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def listening(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Listen on loopback."""
    with socket.socket(request.param) as found:
        try:
            found.bind(("::1" if request.param == socket.AF_INET6 else "127.0.0.1", 0))
        except OSError as error:
            pytest.skip(f"no loopback of this kind: {error}")
        found.listen()
        yield found


class Client:
    """Another process that connects."""

    def __init__(self, listening: socket.socket, uid: int) -> None:
        family, port = listening.family, listening.getsockname()[1]
        words = [sys.executable, "-I", "-S", "-c", CLIENT, str(int(family)), str(port), str(uid)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._connection = listening.accept()[0]
        self._hear()

    def peer(self) -> Peer:
        """Return the other end as the listener sees it."""
        here, there = self._connection.getsockname()[:2], self._connection.getpeername()[:2]
        return Peer((here[0], here[1]), (there[0], there[1]))

    def do(self, word: str) -> None:
        """Have it close its connection: ``half`` or ``whole``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._hear()

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        self._connection.close()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline()


async def test_root_is_trusted_and_the_daemons_own_user_is_not(listening: socket.socket) -> None:
    """Where the daemon is no root, its experiments are its own user."""
    with closing(Client(listening, 0)) as client:
        assert await client.peer().is_trusted() == (os.geteuid() == 0)


@as_root
async def test_another_user_is_not(listening: socket.socket) -> None:
    """Experiments of a daemon that is root are another user."""
    with closing(Client(listening, NOBODY)) as client:
        assert not await client.peer().is_trusted()


@as_root
@pytest.mark.parametrize("how", ["half", "whole"])
async def test_who_has_closed_is_nobody(listening: socket.socket, how: str) -> None:
    """The kernel says 0 of a socket that nobody has any more: that is not root."""
    with closing(Client(listening, NOBODY)) as client:
        client.do(how)
        assert not await client.peer().is_trusted()


async def test_what_is_not_known_is_not_trusted(tmp_path: Path) -> None:
    """No table, no such connection, no address."""
    assert not await Peer(("127.0.0.1", 1), ("127.0.0.1", 2)).is_trusted()
    assert not await Peer(("127.0.0.1", 1), ("127.0.0.1", 2), [tmp_path / "none"]).is_trusted()
    assert not await Peer(None, None).is_trusted()
