"""Where a URL leads: its name is resolved once, and what was checked is what is connected to."""

from __future__ import annotations

import socket
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.errors import StoreUnavailable
from runner.stores.base import AccessDenied
from runner.stores.http.addresses import is_named, why_private
from runner.wires import here

OPTION = "--http-private-hosts"
_PORTS = {"http": 80, "https": 443}


def shown(url: str) -> str:
    """Return a URL without its query, which may be a signature, and without user and fragment."""
    try:
        split = urllib.parse.urlsplit(url)
    except ValueError:
        return "what it leads to"
    bare = urllib.parse.urlunsplit(
        (split.scheme, split.netloc.rpartition("@")[2], split.path, "", "")
    )
    return f"{bare}?***" if split.query else bare


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and what is asked of it."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Return host and port as the URL has them."""
        return urllib.parse.urlsplit(self.url).netloc

    @property
    def target(self) -> str:
        """Return path and query."""
        split = urllib.parse.urlsplit(self.url)
        return urllib.parse.urlunsplit(("", "", split.path or "/", split.query, ""))


def place_of(url: str) -> Place:
    """Read a URL. Raises AccessDenied for one that is no address of the web."""
    try:
        split = urllib.parse.urlsplit(url)
        host, port = split.hostname or "", split.port or _PORTS[split.scheme]
    except (ValueError, KeyError):
        raise AccessDenied(f"{shown(url)} is no http:// or https:// address") from None
    if not host or "@" in split.netloc:
        raise AccessDenied(f"{shown(url)} is no address of the form https://host/path")
    return Place(url, split.scheme, host, port)


def addresses_of(
    place: Place, private_hosts: Sequence[str], *, is_proxied: bool
) -> tuple[str, ...]:
    """Resolve a host to the addresses that may be spoken to, in the system's order.

    Through a proxy the proxy resolves: then a name that means nothing here passes, and all that the
    proxy's operator lets through can be had. Numbers, and names that mean something here, are
    checked all the same. Raises AccessDenied, StoreUnavailable.
    """
    try:
        found = _resolved(place.host, place.port)
    except (OSError, UnicodeError) as error:  # a label of the name may be too long for any name
        if is_proxied:
            return ()
        raise StoreUnavailable(
            f"{shown(place.url)}: the host {place.host!r} cannot be resolved: {error}"
        ) from error
    return _allowed(place.url, place.host, found, private_hosts)


def _allowed(
    url: str, host: str, found: tuple[str, ...], private_hosts: Sequence[str]
) -> tuple[str, ...]:
    if is_named(host, private_hosts):
        return found
    kinds = [why_private(address) for address in found]
    allowed = tuple(address for address, kind in zip(found, kinds, strict=True) if not kind)
    if not allowed:
        raise AccessDenied(
            f"{shown(url)} is not fetched: {host} is a {kinds[0]} address, which messages may name "
            f"only where the runner's operator allows it: {OPTION} {host}"
        )
    return allowed


def _resolved(host: str, port: int) -> tuple[str, ...]:
    """Return all addresses of a host, however it is spelled: ``0x7f.1`` is 127.0.0.1, too."""
    found: list[str] = []

    def resolve() -> None:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.extend(str(answer[-1][0]) for answer in answers)

    if f".{host.rstrip('.')}".endswith(".localhost"):  # whatever a proxy or a resolver makes of it
        return ("127.0.0.1", "::1")
    _leavable(resolve)
    if not found:
        raise OSError(f"{host} has no address")
    return tuple(dict.fromkeys(found))


def _leavable(act: Callable[[], None]) -> None:
    """Run where a stopped transfer need not wait for it."""
    wire = here()
    if wire is None:
        act()
    else:
        wire.connecting(act, lambda: None)
