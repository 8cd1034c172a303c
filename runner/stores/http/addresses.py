"""Which addresses a message may make the runner speak to: public ones. Pure.

A message is written by somebody else, and the runner stands inside the operator's network: what it
fetches for the sender must not be an administrator's page, a database or a cloud's metadata.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Public by their number, and yet the platform's own, inside every machine of a cloud.
_PLATFORM = tuple(
    ipaddress.IPv4Network(network) for network in ("168.63.129.16/32", "192.0.0.0/24")
)
#: How networks without IPv4 write an IPv4 address.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


def is_named(host: str, patterns: Sequence[str]) -> bool:
    """Tell whether the operator's patterns (``*.lan``, ``10.1.2.3``) name a host."""
    name = host.lower().strip("[]").rstrip(".")
    return any(fnmatchcase(name, pattern.lower().strip("[]")) for pattern in patterns)


def why_private(text: str) -> str:
    """Say what kind of address this is that messages may not name; empty for a public one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return next((kind for one in _reached(address) if (kind := _kind(one))), "")


def _kind(address: Address) -> str:
    kinds = (
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (any(address in network for network in _PLATFORM), "platform"),
        (getattr(address, "is_site_local", False), "private"),
        (address.is_private, "private"),
        (address.is_reserved or not address.is_global, "reserved"),
    )
    return next((name for is_it, name in kinds if is_it), "")


def _reached(address: Address) -> tuple[Address, ...]:
    """Return what a packet to this address may get to: gateways read IPv4 ones out of IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner = address.ipv4_mapped
    if address in _TRANSLATED:
        inner = ipaddress.IPv4Address(address.packed[-4:])
    if inner is not None:
        return (inner,)
    tunnelled = (address.sixtofour, *(address.teredo or ()))
    return (address, *(one for one in tunnelled if one is not None))
