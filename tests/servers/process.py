"""Starts the servers that tests talk to, on ports that are free, and ends them."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class Served:
    """A server that runs in a directory; what it prints lies there in ``server.log``."""

    command: Sequence[str | Path]
    is_ready: Callable[[], bool]
    directory: Path
    environment: Mapping[str, str] | None = None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready; else the test fails and shows what it printed."""
        with (self.directory / "server.log").open("ab") as printed:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
            )
        self._wait(self._process)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Have it dead for as long as the block takes; it begins again with what is on disk."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + PATIENCE
        while not self.is_ready():
            if server.poll() is not None or time.monotonic() > end:
                printed = (self.directory / "server.log").read_text(errors="replace")[-4000:]
                pytest.fail(f"{server.args!r} is not ready\n{printed}", pytrace=False)
            time.sleep(0.05)


@contextmanager
def serving(
    command: Sequence[str | Path],
    is_ready: Callable[[], bool],
    *,
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Run a server in ``directory``, wait until ``is_ready``, and kill it at the end."""
    served = Served(command, is_ready, directory, environment)
    try:
        served.start()
        yield served
    finally:
        served.kill()
