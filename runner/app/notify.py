"""Tells the service manager how we are: the datagrams of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from runner import log

_log = log.get_logger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


@dataclass(frozen=True)
class Notify:
    """Nobody listens where ``address`` is empty; whoever does not read is not waited for."""

    #: A path, or ``@`` and an abstract name.
    address: str = ""
    #: How long the manager waits for the next sign of life; ``None``: it does not.
    watchdog: timedelta | None = None

    @classmethod
    def told_by(cls, environ: Mapping[str, str]) -> Notify:
        """Read what systemd gives its services: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC``."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address and address[0] not in "/@":
            _log.warning("this kind of NOTIFY_SOCKET is not known", address=address)
            return cls()
        return cls(address, _watchdog(environ) if address else None)

    def __bool__(self) -> bool:
        """Tell whether anybody listens."""
        return bool(self.address)

    def say(self, *lines: str) -> None:
        """Send assignments in one message, or nothing at all."""
        if not self.address or not lines:
            return
        address = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
        except OSError as error:
            _log.debug("the service manager was not told", trouble=str(error), lines=lines)


def status(sentence: str) -> str:
    """Return the line that ``systemctl status`` shows."""
    return f"STATUS={' '.join(sentence.split())}"


def reloading() -> list[str]:
    """Say that we are busy with ourselves until the next READY, which may be the next program's."""
    return ["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"]


def more_time(span: timedelta) -> str:
    """Ask for patience with what is under way, from now on."""
    return f"EXTEND_TIMEOUT_USEC={span // timedelta(microseconds=1)}"


def _watchdog(environ: Mapping[str, str]) -> timedelta | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return timedelta(microseconds=int(text)) if text.isdecimal() and int(text) > 0 else None
