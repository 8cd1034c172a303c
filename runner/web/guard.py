"""Who may see what: pure decisions about a request, before anybody answers it.

A page in somebody's browser can reach a listener on loopback, too, and with a name that its owner
points at 127.0.0.1 (DNS rebinding) it may even read the answer. Such a request carries that name as
its ``Host``; what changes something carries an ``Origin``.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runner.redaction import Secret
from runner.web.message import SAFE, Answer, Request, sentence

_LONGEST_SHOWN = 80
#: What an action carries. A page of another origin can send a form, but no header of this name
#: without asking first, and such a question gets no consent here.
MARK = "x-studio-runner"


@dataclass(frozen=True, slots=True)
class Policy:
    """How the listener can be reached."""

    #: It is bound to loopback addresses alone.
    is_local: bool
    token: Secret = field(default_factory=Secret)
    #: Names in lower case by which it may be called, besides addresses and ``localhost``.
    hosts: frozenset[str] = frozenset()


def names_of(machine: str, further: Iterable[str]) -> frozenset[str]:
    """Return the names of a listener: the machine's own, long and short, and ``further`` ones."""
    own = machine.lower().rstrip(".")
    return frozenset({own, own.partition(".")[0], *(name.lower() for name in further)} - {""})


def refusal(
    request: Request, policy: Policy, *, is_open: bool, is_action: bool = False
) -> Answer | None:
    """Return why a request gets no answer, or ``None``.

    ``is_open``: it needs no token. ``is_action``: it changes something, and carries ``MARK``.
    """
    return (
        _wrong_host(request, policy)
        or _wrong_origin(request)
        or (_no_mark(request) if is_action else None)
        or (None if is_open else _no_token(request, policy))
    )


def _wrong_host(request: Request, policy: Policy) -> Answer | None:
    written = request.header("host")
    host = host_of(written)
    # Without one it is no browser: HTTP/1.0.
    if not written or host == "localhost" or host in policy.hosts or _is_address(host):
        return None
    return sentence(
        421,
        f"this listener is not called {_shown(host or written)}: use its address, or name it with "
        "--web-hosts",
    )


def _wrong_origin(request: Request) -> Answer | None:
    origin = request.header("origin")
    if request.method in SAFE or not origin:
        return None
    try:
        parts = urlsplit(origin)
        is_own = parts.scheme in {"http", "https"} and parts.netloc == request.header("host")
    except ValueError:
        is_own = False
    if is_own:
        return None
    return sentence(403, f"a page of {_shown(origin)} may not change anything here")


def _no_mark(request: Request) -> Answer | None:
    """Refuse what somebody's browser was made to send."""
    site = request.header("sec-fetch-site")
    if request.header(MARK) and site in {"", "same-origin", "none"}:
        return None
    return sentence(
        403, f"what changes something needs the header {MARK}, from a page of this listener alone"
    )


def _no_token(request: Request, policy: Policy) -> Answer | None:
    if policy.token:
        wanted = policy.token.reveal().encode()
        scheme, _, given = request.header("authorization").partition(" ")
        is_right = hmac.compare_digest(given.strip(" \t").encode("latin-1", "replace"), wanted)
        if scheme.lower() == "bearer" and is_right:
            return None
        return sentence(
            401,
            "this needs the token of --web-token: send the header Authorization: Bearer TOKEN",
            www_authenticate="Bearer",
        )
    if policy.is_local:
        return None
    return sentence(
        403,
        "this is closed, since the listener can be reached from other machines: start the daemon "
        "with --web-token-file FILE, or with --listen 127.0.0.1:9464",
    )


def host_of(written: str) -> str:
    """Return the host of ``HOST[:PORT]`` in lower case, without brackets; empty: it is none."""
    try:
        parts = urlsplit(f"//{written}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.netloc != written or "@" in written:
        return ""
    return (parts.hostname or "").rstrip(".")


def _is_address(host: str) -> bool:
    """Tell whether it is an address: nobody can point one of those elsewhere."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(text[:_LONGEST_SHOWN])
