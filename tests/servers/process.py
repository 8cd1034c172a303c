"""Starts the servers that tests talk to, on ports that are free, and ends them."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Far more than a server takes to start on a busy machine.
PATIENCE = 60.0
#: Below the ports that the system gives to outgoing connections, also after adding 10,000.
_PORTS = range(10_000, 22_000)


def free_ports(number: int, *, beside: int = 0) -> list[int]:
    """Return unused ports of 127.0.0.1; ``beside``: port + ``beside`` is unused, too."""
    found: list[int] = []
    while len(found) < number:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        if port not in found and _is_free(port) and (not beside or _is_free(port + beside)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as listening:
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def serving(
    command: Sequence[str | Path],
    is_ready: Callable[[], bool],
    *,
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server in ``directory``, wait until ``is_ready``, and kill it at the end.

    What it prints lies in ``server.log`` there and is shown when it does not become ready.
    """
    log = directory / "server.log"
    with log.open("wb") as printed:
        server = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
        )
    try:
        _wait(server, is_ready, log)
        yield
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], is_ready: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not is_ready():
        if server.poll() is not None or time.monotonic() > end:
            printed = log.read_text(errors="replace")[-4000:]
            pytest.fail(f"{server.args!r} is not ready\n{printed}", pytrace=False)
        time.sleep(0.05)
