"""Options about the web listener: health, metrics and status."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar

from runner.redaction import Secret
from runner.settings import kinds
from runner.settings.kinds import Kind
from runner.settings.option import group, option

_HIGHEST_PORT = 65535
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen."""

    #: A name or an address of this machine; empty: all of them.
    host: str
    #: 0: one that is free.
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_listen(text: str) -> Listen | None:
    """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``; empty is ``None``. Raises ValueError."""
    written = text.strip()
    if not written:
        return None
    host, colon, port = written.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise ValueError("no port")
    return Listen(_host(host), int(port))


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    if text == "*":
        return ""
    if text and not _NAME.fullmatch(text):
        raise ValueError("no host")
    return text


def _read_host(text: str, _environ: object = None) -> str:
    if not _NAME.fullmatch(text.strip()):
        raise ValueError("no name")
    return text.strip().lower()


_LISTEN = Kind(
    lambda text, _environ: read_listen(text),
    "HOST:PORT, [IPV6]:PORT or :PORT for all addresses; port 0 picks a free one, empty is off",
    "HOST:PORT",
    empty=True,
)
_HOST = Kind(_read_host, "the name of a host, without a port", "NAME")


@group
class ListenOptions:
    """The one listener of the daemon."""

    GROUP: ClassVar = "Monitoring"

    listen: Listen | None = option(
        _LISTEN,
        "127.0.0.1:9464",
        "address of the status page, /healthz, /readyz, /metrics and /status.json; :PORT listens "
        "on all addresses, port 0 picks a free one, empty switches it off",
        aliases=("prom-address",),
    )
    web_token: Secret = option(
        kinds.TEXT,
        "",
        "what the status page and /status.json ask for, as `Authorization: Bearer TOKEN`; beyond "
        "loopback they are closed without one",
        secret=True,
        file_form=True,
    )
    web_hosts: tuple[str, ...] = option(
        _HOST,
        "",
        "further name by which the listener is reached; addresses, localhost and the machine's own "
        "name need not be given",
        repeatable=True,
    )
